//! Protocol buffers, walked field by field.
