//! What happens around every request: identity and time of the request, bounds, headers.

pub mod bounds;
pub mod headers;
pub mod observe;
