//! What the watch saw, written to the row, and the end of the waits that it fulfils (worker only).
