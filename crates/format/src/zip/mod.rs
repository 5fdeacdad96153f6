//! Zip archives, read twice and compared.
