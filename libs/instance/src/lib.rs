//! Domain and store of the instance database, shared by instance-service and instance-worker.
