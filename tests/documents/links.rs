//! Links lead somewhere.

use rift_tests::document::{Page, root};

/// The targets of the links in `text`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The headings of a page as GitHub makes anchors of them.
fn anchors(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let words = line.trim_start_matches('#').trim().to_lowercase();
            words.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Why a link of `page` leads nowhere.
fn fault(page: &Page, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(p, a)| (p, Some(a)));
    let folder = page.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let name = if path.is_empty() { page.name.clone() } else { format!("{folder}/{path}") };
    let name = name.trim_start_matches('/');
    if !root().join(name).exists() {
        return Some(format!("{}: `{target}` is not there", page.name));
    }
    let anchor = anchor?;
    let found = anchors(&Page::read(name)).iter().any(|heading| heading == anchor);
    (!found).then(|| format!("{}: `{name}` has no heading for `#{anchor}`", page.name))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = Page::all();
    let of = |page: &Page| -> Vec<String> {
        targets(&page.prose()).filter_map(|target| fault(page, target)).collect()
    };
    let faults: Vec<String> = pages.iter().flat_map(of).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(pages.iter().map(|page| targets(&page.text).count()).sum::<usize>() > 20);
}

#[test]
fn the_index_names_every_page() {
    let index = Page::read("docs/README.md");
    let listed: Vec<&str> = targets(&index.text).collect();
    for page in Page::all() {
        let Some(name) = page.name.strip_prefix("docs/") else { continue };
        let missing = name != "README.md" && !listed.contains(&name);
        assert!(!missing, "docs/README.md does not name `{name}`");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "# A b, c\n[x](no.md) [y](serving.md) [z](#a-b-c) [w](#d) [v](https://a.b/c)\n";
    let page = Page { name: "docs/x.md".to_owned(), text: text.to_owned() };
    // The page itself is not there, so its anchors are not either.
    let faults: Vec<&str> = targets(&page.text)
        .filter(|target| !target.starts_with('#'))
        .filter(|target| fault(&page, target).is_some())
        .collect();
    assert_eq!(faults, ["no.md"]);
    assert_eq!(anchors(&page), ["a-b-c"]);
}
