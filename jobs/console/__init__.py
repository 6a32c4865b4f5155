"""What all commands share: options, checks, messages, tables and progress."""
