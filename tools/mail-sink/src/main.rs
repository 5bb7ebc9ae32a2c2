//! An SMTP sink with the HTTP API of Mailpit.

fn main() {}
