//! Service manager protocol, client side.
