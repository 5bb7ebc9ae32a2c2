//! What each account may and may not do (K8S-26, X10), and what the admission policy looks at.
