//! `cart`: what is in the basket, priced by `product`.
//!
//! Does: ask `product` by name for each answer, so that the basket shows today's prices.
//! Never: keeps prices or baskets; every customer gets the same three things.
//! Called by: `front`, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client,
    http::{Request, Response},
    replica::Replica,
    shop::{count_things, price, product::Catalogue},
};

/// How long `cart` waits for `product`: less than `front` waits for `cart`.
const PRODUCT_TIMEOUT: Duration = Duration::from_millis(900);
/// How many of the first goods in the catalogue lie in the basket.
const QUANTITIES: [u64; 3] = [1, 2, 1];

/// The service.
#[derive(Debug)]
pub struct Cart {
    /// Who answers.
    pub replica: Replica,
    /// Where the catalogue is, `http://product:8080`.
    pub product_url: String,
}

// === impl Cart ===

impl Cart {
    /// Answers one request; 503 with `"state": "away"` while `product` is away.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => match self.catalogue() {
                Ok(catalogue) => Response::json(200, &self.filled(&catalogue)),
                Err(error) => Response::json(503, &self.replica.away(&error)),
            },
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }

    fn catalogue(&self) -> Result<Catalogue, String> {
        match client::get(&format!("{}/items", self.product_url), PRODUCT_TIMEOUT) {
            Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body)
                .map_err(|error| format!("product's catalogue cannot be understood: {error}")),
            Ok(answer) => Err(format!("product answered {}", answer.status)),
            Err(error) => Err(format!("product is away: {}", error.explain())),
        }
    }

    fn filled(&self, catalogue: &Catalogue) -> Value {
        let chosen = || catalogue.items.iter().zip(QUANTITIES);
        let lines: Vec<_> = chosen()
            .map(|(item, quantity)| {
                let total = item.price_cents.saturating_mul(quantity);
                json!({ "sku": item.sku, "name": item.name, "quantity": quantity, "total_cents": total })
            })
            .collect();
        let total = chosen()
            .fold(0, |sum: u64, (item, quantity)| sum.saturating_add(item.price_cents.saturating_mul(quantity)));
        let things = chosen().map(|(_, quantity)| quantity).sum::<u64>();
        let things = count_things(usize::try_from(things).unwrap_or(usize::MAX), "thing");
        let said = format!("{things} in the basket, {} {} together", price(total), catalogue.currency);
        let data = json!({ "lines": lines, "total_cents": total, "currency": catalogue.currency });
        self.replica.answer(&said, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::product::Item;

    fn item(sku: &str, price_cents: u64) -> Item {
        Item { sku: sku.into(), name: sku.to_uppercase(), price_cents }
    }

    #[test]
    fn a_basket_is_priced_from_the_catalogue() {
        let cart = Cart { replica: Replica::new("cart"), product_url: String::new() };
        let catalogue = Catalogue { currency: "EUR".into(), items: vec![item("a", 1000), item("b", 55)] };
        let filled = cart.filled(&catalogue);
        assert_eq!(filled["answer"], "3 things in the basket, 11.10 EUR together");
        assert_eq!(filled["data"]["total_cents"], 1110);
        assert_eq!(filled["data"]["lines"][1]["total_cents"], 110);
    }
}
