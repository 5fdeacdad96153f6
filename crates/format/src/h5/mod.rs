//! HDF5 files, behind a narrow seam.
