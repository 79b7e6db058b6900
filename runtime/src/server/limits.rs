//! What is too much.

use std::time::Duration;

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body, packed and unpacked.
    pub body: usize,
    /// Bytes of all bodies, and of the pictures in them, that are held at once.
    pub bodies: usize,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Connections that are open.
    pub connections: usize,
    /// Attacks on demand at once; none are made where it is 0.
    pub attacks: usize,
    /// The time in which a request's head, and then its body, must arrive; a connection on which none
    /// begins is closed then too, and one whose client takes nothing of what is written for as long.
    pub arrival: Duration,
    /// The time in which a request must be answered; one may ask for less.
    pub answer: Duration,
    /// The time in which requests are still taken after the server has been told to end, and has said
    /// that it is not ready.
    pub drain: Duration,
    /// The time for those that are under way when the server is told to end.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            bodies: 256 << 20,
            pixels: 32_000_000,
            connections: 4096,
            attacks: 0,
            arrival: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            drain: Duration::from_secs(1),
            shutdown: Duration::from_secs(20),
        }
    }
}
