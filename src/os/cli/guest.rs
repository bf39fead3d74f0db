//! The files of a stock client: its key, its certificate, and the parameters that libtorrent asks for.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::CliError;
use crate::base::TransportKey;
use crate::cert;
use crate::seal::TransportSecret;

/// The key in a directory, which is made where there is none.
pub(super) fn key(directory: &Path) -> Result<TransportKey, CliError> {
    let path = directory.join(KEY);
    let seed = match fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(pem) => cert::seed_of_private_pem(&pem)
            .ok_or_else(|| wrong(&path, "it is no key that this command wrote: name another directory"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(|error| wrong(&path, &format!("there is no randomness: {error}")))?;
            fs::create_dir_all(directory).map_err(|error| wrong(directory, &error.to_string()))?;
            write(&path, cert::private_pem(&seed).as_bytes(), 0o600)?;
            seed
        }
        Err(error) => return Err(wrong(&path, &error.to_string())),
    };
    Ok(TransportSecret::from_seed(*seed).public())
}

/// Writes the certificate beside the key.
pub(super) fn write_certificate(directory: &Path, pem: &str) -> Result<(), CliError> {
    write(&directory.join(CERTIFICATE), pem.as_bytes(), 0o644)?;
    write(&directory.join(PARAMETERS), FFDHE2048.as_bytes(), 0o644)
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| wrong(path, &error.to_string()))
}

fn wrong(path: &Path, why: &str) -> CliError {
    CliError::File(path.to_owned(), why.to_owned())
}

const KEY: &str = "guest.key";
const CERTIFICATE: &str = "guest.crt";
const PARAMETERS: &str = "dh.pem";

/// The group ffdhe2048 of RFC 7919: clients ask for a group, though with TLS 1.3 none is used.
const FFDHE2048: &str = "\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
";
