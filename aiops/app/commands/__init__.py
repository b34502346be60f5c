"""What each command of ``aiops`` does; imported only when its command is called, so that the others start fast."""
