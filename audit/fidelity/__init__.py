"""How close generated frames are to what was asked for, and to rendered ones."""
