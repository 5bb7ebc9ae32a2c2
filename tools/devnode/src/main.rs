//! A Kubernetes node whose pods are host processes.

fn main() {}
