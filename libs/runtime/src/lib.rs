//! Start-up, configuration, shutdown, health, gRPC server and client with deadlines and identity.
