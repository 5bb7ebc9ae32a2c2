//! Generated protobuf types, event payloads and error reasons shared by all services.
