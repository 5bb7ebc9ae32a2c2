//! Outbox relay, topology, consumers with inbox, delays and dead letters.
