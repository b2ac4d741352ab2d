//! Loopback ports that nobody else takes in the meantime.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the kernel gives to outgoing connections (32768 and up on Linux), so that no client's connection
/// can take a port between this and the start of the process that it is for, nor while an application is down.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on loopback that is free, and that this process gives out only once.
///
/// # Panics
///
/// When every port of the range is taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    let count = LAST - FIRST + 1;
    // Test binaries that run one after the other start at different places.
    let start = u16::try_from(std::process::id() % u32::from(count)).expect("a remainder of a u16 is one");
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (u32::from(start) + u32::from(step)).rem_euclid(u32::from(count)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // Found out without listening: a process that another thread is starting holds a copy of every open socket until
        // it runs its own program, and would still listen when this has stopped to.
        if TcpStream::connect(address).is_err() {
            return address;
        }
    }
    panic!("no port from {FIRST} to {LAST} is free")
}
