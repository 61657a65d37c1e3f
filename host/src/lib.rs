//! A runtime for static tensor graphs whose weights may each be quantized in a different encoding.
