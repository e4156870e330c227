"""One module or folder per format. Sources do not know each other; the registry finds them."""
