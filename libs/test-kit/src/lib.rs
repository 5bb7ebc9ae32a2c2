//! Databases, brokers, clusters and clients for tests.
