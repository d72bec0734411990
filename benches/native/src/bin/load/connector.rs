//! Connections, with or without TLS.

use std::{io, path::Path, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{
    address::{Address, Stream},
    options::Options,
};

/// The server name that a certificate must be valid for.
const NAME: &str = "localhost";

/// Opens connections to the server; clones share the configuration.
#[derive(Clone)]
pub(crate) struct Connector {
    address: Address,
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        Ok(Self {
            address: options.address.clone(),
            tls: options.tls.as_deref().map(tls).transpose()?,
        })
    }

    /// Connects, and performs the handshake if TLS is configured.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = self.address.connect().await?;
        match &self.tls {
            None => Ok(stream),
            Some(tls) => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
        }
    }
}

/// A TLS configuration that trusts the authority in a PEM file and never resumes a session.
fn tls(authority: &Path) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
