//! Templates, queue, SMTP, history.

fn main() {}
