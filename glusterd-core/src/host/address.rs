//! Is this name or address ours?
//!
//! Ours: any loopback address, and any address of an interface. Not found by binding to it: hosts
//! that share a floating address allow binding to foreign ones.
//! Facts: libglusterfs/src/common-utils.c:3478-3660 (v10.3).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// A resolver that takes longer would hold up commands; its own default is several times this.
const RESOLVE_BOUND: Duration = Duration::from_secs(10);

pub(super) async fn is_local(host: &str) -> io::Result<bool> {
    let addresses = addresses(host).await?;
    if addresses.iter().any(is_loopback) {
        return Ok(true);
    }
    let own = own_addresses()?;
    Ok(addresses.iter().any(|address| own.contains(address)))
}

pub(super) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolve(host).await,
    }
}

/// What a peer probe waits for before it says that nobody is there.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

pub(super) async fn reaches(host: &str, port: u16) -> bool {
    let connecting = tokio::net::TcpStream::connect((host, port));
    tokio::time::timeout(CONNECT_BOUND, connecting).await.is_ok_and(|connected| connected.is_ok())
}

async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = tokio::time::timeout(RESOLVE_BOUND, tokio::net::lookup_host((host, 0)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("resolving {host}")))??;
    Ok(found.map(|address| address.ip()).collect())
}

fn is_loopback(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}

pub(super) fn reachable() -> io::Result<Vec<IpAddr>> {
    let own = own_addresses()?;
    Ok(own.into_iter().filter(|address| !is_loopback(address)).collect())
}

/// Connecting a datagram socket sends nothing; the kernel picks the address.
pub(super) async fn towards(target: IpAddr) -> io::Result<IpAddr> {
    let any = match target {
        IpAddr::V4(_) => IpAddr::from([0u8; 4]),
        IpAddr::V6(_) => IpAddr::from([0u8; 16]),
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
    // The port is of no interest: discard.
    socket.connect((target, 9)).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn own_and_foreign() {
        let check = async |host: &str, want: bool| {
            assert_eq!(is_local(host).await.unwrap(), want, "{host}")
        };
        check("127.0.0.1", true).await;
        check("127.1.1.2", true).await;
        check("::1", true).await;
        check("localhost", true).await;
        check("192.0.2.1", false).await;
        check("2001:db8::1", false).await;
        for own in own_addresses().unwrap() {
            check(&own.to_string(), true).await;
        }
        assert!(is_local("no such name").await.is_err());
        assert!(reachable().unwrap().iter().all(|address| !is_loopback(address)));
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(towards(loopback).await.unwrap(), loopback);
    }
}
