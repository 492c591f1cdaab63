//! The shop's page: one self-contained HTML document from the services' answers.
//!
//! Does: render; escape everything that came from outside.
//! Never: asks anyone, loads anything: no scripts, fonts or images.
//! Called by: `shop::front`.

use std::fmt::Write;

use serde_json::Value;

use crate::shop::price;

const STYLE: &str = include_str!("page.css");

/// The page for these answers (see `Front::services`), with the outcome of a checkout above them if there was one.
pub fn render(services: &[Value], paid: Option<&Value>) -> String {
    let present = services.iter().filter(|service| service["state"] == "ok").count();
    let verdict = if present == services.len() { "ok" } else { "away" };
    let cards: String = services.iter().map(card).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>The boat shop</title><style>{STYLE}</style></head><body><main>\
         <header><h1>The boat shop</h1>\
         <p class=\"state {verdict}\">{present} of {} services answered</p></header>\
         {}<section class=\"cards\">{cards}</section>\
         <section class=\"wares\">{}{}</section>\
         <footer>Reload to see replicas take turns. The same as JSON: <a href=\"/api/all\">/api/all</a></footer>\
         </main></body></html>\n",
        services.len(),
        paid.map(outcome).unwrap_or_default(),
        catalogue(&data_of(services, "product")["catalogue"]),
        basket(data_of(services, "cart")),
    )
}

/// One service: its name, its answer or its absence, who answered and since when.
fn card(service: &Value) -> String {
    let name = text(&service["name"]);
    if service["state"] != "ok" {
        return format!(
            "<article class=\"away\"><h2>{name}</h2><p>away</p><small>{}</small></article>",
            text(&service["error"])
        );
    }
    format!(
        "<article class=\"ok\"><h2>{name}</h2><p>{}</p><small>replica <b>{}</b><br>up {}</small></article>",
        text(&service["answer"]),
        text(&service["replica"]),
        span(service["uptime_seconds"].as_u64().unwrap_or(0)),
    )
}

fn outcome(paid: &Value) -> String {
    if paid["state"] == "ok" {
        let (answer, receipt) = (text(&paid["answer"]), text(&paid["data"]["receipt"]));
        return format!("<p class=\"note ok\">{answer}. Receipt {receipt}.</p>");
    }
    format!("<p class=\"note away\">Not paid: {} is away. {}</p>", text(&paid["name"]), text(&paid["error"]))
}

fn catalogue(catalogue: &Value) -> String {
    let Some(items) = catalogue["items"].as_array() else { return String::new() };
    let mut table = String::from("<div><h2>On sale</h2><table>");
    for item in items {
        row(&mut table, &text(&item["name"]), &item["price_cents"], &catalogue["currency"]);
    }
    table + "</table></div>"
}

fn basket(cart: &Value) -> String {
    let Some(lines) = cart["lines"].as_array() else { return String::new() };
    let mut table = String::from("<div><h2>Your basket</h2><table>");
    for line in lines {
        let what = format!("{} \u{d7} {}", line["quantity"].as_u64().unwrap_or(0), text(&line["name"]));
        row(&mut table, &what, &line["total_cents"], &cart["currency"]);
    }
    row(&mut table, "<b>Total</b>", &cart["total_cents"], &cart["currency"]);
    table + "</table><form method=\"post\" action=\"/checkout\"><button>Check out</button></form></div>"
}

/// A row of a table; `what` is HTML.
fn row(table: &mut String, what: &str, cents: &Value, currency: &Value) {
    let amount = price(cents.as_u64().unwrap_or(0));
    // Writing to a String cannot fail.
    let _ = write!(table, "<tr><td>{what}</td><td>{amount} {}</td></tr>", text(currency));
}

fn data_of<'a>(services: &'a [Value], name: &str) -> &'a Value {
    services.iter().find(|service| service["name"] == name).map_or(&Value::Null, |service| &service["data"])
}

/// A JSON string as HTML; anything else is nothing.
fn text(value: &Value) -> String {
    let mut escaped = String::new();
    for character in value.as_str().unwrap_or_default().chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A length of time, in its two largest units at most.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_shows_who_answered_and_who_is_away() {
        let page = render(
            &[
                json!({"name": "user", "state": "ok", "answer": "hi", "replica": "h1", "uptime_seconds": 61}),
                json!({"name": "cart", "state": "away", "error": "no such name: cart"}),
            ],
            None,
        );
        for part in ["1 of 2 services answered", "<b>h1</b><br>up 1 min 1 s", "no such name: cart", "class=\"away\""] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("Your basket"), "a basket without a cart");
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let page = render(&[json!({"name": "<script>", "state": "ok", "answer": "\"'&"})], None);
        assert!(page.contains("&lt;script&gt;") && page.contains("&quot;&#39;&amp;"), "{page}");
        assert!(!page.contains("<script>"));
    }
}
