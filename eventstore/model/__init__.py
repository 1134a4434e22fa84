"""Operations, handlers and state: what users write, and how it becomes bytes and state."""
