"""What one deployment consists of on its machine: folders, keys, processes, the sandbox."""
