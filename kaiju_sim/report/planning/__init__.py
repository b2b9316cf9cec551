"""Plans and break-its for people."""
