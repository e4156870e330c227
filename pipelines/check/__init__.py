"""Stage 4: measure every stream while it is decoded, then judge the recording."""
