"""What the operators share: the layout of KV pages, visibility, argument checks, the device."""
