"""What jobs do, a module for each kind; every kind leaves folders that can be taken along."""
