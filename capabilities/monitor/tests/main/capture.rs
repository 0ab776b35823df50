//! What comes with a picture: its record, its file, its differences to a later one.
