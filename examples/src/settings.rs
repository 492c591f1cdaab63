//! What the environment says: where to listen, where the others are, where the files lie.
//!
//! Does: name every variable, its default and its form in one place.
//! Never: reads the environment behind a service's back; services get values.
//! Called by: `src/bin/shop.rs`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// The settings of any of the programs; each uses its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `LISTEN`, default all IPv4 addresses and the program's usual port.
    pub listen: SocketAddr,
    /// `USER_URL`, default `http://user:8080`.
    pub user_url: String,
    /// `PRODUCT_URL`, default `http://product:8080`.
    pub product_url: String,
    /// `CART_URL`, default `http://cart:8080`.
    pub cart_url: String,
    /// `PAYMENT_URL`, default `http://payment:8080`.
    pub payment_url: String,
    /// `BACKEND_URL`, default `http://backend:5000`.
    pub backend_url: String,
    /// `CATALOGUE_FILE`, default `/etc/shop/catalogue.json`.
    pub catalogue_file: PathBuf,
    /// `PAYMENT_KEY_FILE`, default `/run/secrets/payment_key`.
    pub payment_key_file: PathBuf,
    /// `GREETING`, what `hello` says, default `Hello from Wherry`.
    pub greeting: String,
}

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}={value:?} is not an address such as 0.0.0.0:8080")]
pub struct SettingsError {
    name: &'static str,
    value: String,
}

// === impl Settings ===

impl Settings {
    /// Reads the settings through `variable`; `usual_port` is used when `LISTEN` is not set.
    ///
    /// # Errors
    /// When `LISTEN` is not an address and a port.
    pub fn read(usual_port: u16, variable: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let or = |name: &str, default: &str| {
            variable(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let url = |name: &str, default: &str| or(name, default).trim_end_matches('/').to_owned();
        let listen = match variable("LISTEN").filter(|value| !value.is_empty()) {
            None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, usual_port)),
            Some(value) => value.parse().map_err(|_| SettingsError { name: "LISTEN", value })?,
        };
        Ok(Settings {
            listen,
            user_url: url("USER_URL", "http://user:8080"),
            product_url: url("PRODUCT_URL", "http://product:8080"),
            cart_url: url("CART_URL", "http://cart:8080"),
            payment_url: url("PAYMENT_URL", "http://payment:8080"),
            backend_url: url("BACKEND_URL", "http://backend:5000"),
            catalogue_file: or("CATALOGUE_FILE", "/etc/shop/catalogue.json").into(),
            payment_key_file: or("PAYMENT_KEY_FILE", "/run/secrets/payment_key").into(),
            greeting: or("GREETING", "Hello from Wherry"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_a_default_and_nonsense_is_named() {
        let settings = Settings::read(5000, |name| (name == "CART_URL").then(|| "http://basket/".to_owned())).unwrap();
        assert_eq!(settings.listen, "0.0.0.0:5000".parse().unwrap());
        assert_eq!((settings.cart_url.as_str(), settings.user_url.as_str()), ("http://basket", "http://user:8080"));
        let error = Settings::read(1, |name| (name == "LISTEN").then(|| "eighty".to_owned())).unwrap_err();
        assert_eq!(error.to_string(), "LISTEN=\"eighty\" is not an address such as 0.0.0.0:8080");
    }
}
