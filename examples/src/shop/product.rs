//! `product`: the catalogue, read from a Compose config.
//!
//! Does: read the catalogue once at the start; without a file it serves the one it was built with, and says so, because
//! some runners of Compose files know no configs.
//! Never: starts with a file it does not understand.
//! Called by: `front` and `cart`, over HTTP.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    http::{Request, Response},
    replica::Replica,
    shop::count_things,
};

const BUILT_IN: &str = include_str!("../../shop/catalogue.json");

/// What the shop sells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The currency of every price, `EUR`.
    pub currency: String,
    /// The goods, in the order they are shown.
    pub items: Vec<Item>,
}

/// One thing on sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What orders call it, `oars`.
    pub sku: String,
    /// What people call it, `Pair of oars`.
    pub name: String,
    /// The price in hundredths of the currency.
    pub price_cents: u64,
}

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file is there and cannot be read.
    #[error("cannot read the catalogue {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a catalogue.
    #[error("{path} is not a catalogue: {source}")]
    Parse {
        /// Which file.
        path: String,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// The service.
#[derive(Debug)]
pub struct Product {
    /// Who answers.
    pub replica: Replica,
    catalogue: Catalogue,
    source: String,
}

// === impl Product ===

impl Product {
    /// The service with the catalogue at `path`.
    ///
    /// # Errors
    /// See [`CatalogueError`]; an absent file is none.
    pub fn open(replica: Replica, path: &Path) -> Result<Product, CatalogueError> {
        let name = path.display().to_string();
        let (text, source) = match fs::read_to_string(path) {
            Ok(text) => (text, name.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BUILT_IN.to_owned(), "built in".to_owned()),
            Err(source) => return Err(CatalogueError::Read { path: name, source }),
        };
        let catalogue = serde_json::from_str(&text).map_err(|source| CatalogueError::Parse { path: name, source })?;
        Ok(Product { replica, catalogue, source })
    }

    /// Answers one request: `/` for the front page, `/items` the catalogue alone.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => {
                let said = format!("{} on sale", count_things(self.catalogue.items.len(), "product"));
                let data = json!({ "catalogue": self.catalogue, "source": self.source });
                Response::json(200, &self.replica.answer(&said, data))
            }
            ("GET", "/items") => Response::json(200, &json!(self.catalogue)),
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front_page(product: &Product) -> serde_json::Value {
        let request = Request { method: "GET".into(), path: "/".into(), body: Vec::new(), keep_alive: false };
        serde_json::from_slice(&product.answer(&request).body).unwrap()
    }

    #[test]
    fn the_file_wins_over_what_is_built_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalogue.json");
        let without = Product::open(Replica::new("product"), &path).unwrap();
        assert_eq!(front_page(&without)["data"]["source"], "built in");

        fs::write(&path, r#"{"currency":"GBP","items":[{"sku":"tea","name":"Tea","price_cents":199}]}"#).unwrap();
        let with = front_page(&Product::open(Replica::new("product"), &path).unwrap());
        assert_eq!(with["answer"], "1 product on sale");
        assert_eq!(with["data"]["source"], path.display().to_string());
        assert_eq!(with["data"]["catalogue"]["currency"], "GBP");
    }

    #[test]
    fn a_file_that_is_no_catalogue_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalogue.json");
        fs::write(&path, "{}").unwrap();
        let error = Product::open(Replica::new("product"), &path).unwrap_err();
        assert!(error.to_string().contains("catalogue.json is not a catalogue: missing field"), "{error}");
    }
}
