//! The catalogue of faults (to be written).
