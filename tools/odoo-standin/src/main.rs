//! The process that stands in for Odoo on the local node.

fn main() {}
