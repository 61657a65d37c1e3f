//! All that an author of a bitquilt plugin depends on.
