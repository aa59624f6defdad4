//! What the balancer's processes say to each other.
