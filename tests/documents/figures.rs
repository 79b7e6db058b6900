//! What the first page claims stands in the pages that say how it was measured.

use rift_tests::document::Page;

/// The numbers with a decimal point in `text`.
fn figures(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-'));
    pieces
        .map(|piece| piece.trim_end_matches('.'))
        .filter(|piece| piece.contains('.') && piece.parse::<f64>().is_ok())
}

#[test]
fn the_first_page_claims_what_was_measured() {
    let first = Page::read("README.md");
    let (_, section) = first.text.split_once("## What was measured").unwrap();
    let table: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with('|'))
        .collect();
    let measured = ["docs/results.md", "docs/coverage.md", "models/zoo/README.md"].map(Page::read);
    let claims: Vec<&str> = table.iter().flat_map(|row| figures(row)).collect();
    assert!(claims.len() > 5, "{claims:?}");
    for claim in claims {
        let stands = |page: &Page| figures(&page.text).any(|figure| figure == claim);
        assert!(measured.iter().any(stands), "`{claim}` stands nowhere else");
    }
}
