//! A display of their own for tests.
