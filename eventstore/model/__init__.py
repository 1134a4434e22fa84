"""Operations, handlers and state: the parts that users write, their bytes and their fold."""
