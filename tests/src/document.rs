//! The pages of the documentation, as programs read them.

use std::path::{Path, PathBuf};

/// A page in Markdown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the root of the workspace: `docs/tutorial.md`.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

impl Page {
    /// Reads a page.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn read(name: &str) -> Self {
        match std::fs::read_to_string(root().join(name)) {
            Ok(text) => Self { name: name.to_owned(), text },
            Err(error) => panic!("cannot read the page `{name}`: {error}"),
        }
    }

    /// `README.md`, the zoo's, and all pages of `docs`, by name.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn all() -> Vec<Self> {
        let entries = match std::fs::read_dir(root().join("docs")) {
            Ok(entries) => entries,
            Err(error) => panic!("cannot list `docs`: {error}"),
        };
        let paths = entries.filter_map(Result::ok).map(|entry| PathBuf::from(entry.file_name()));
        let pages = paths.filter(|path| path.extension().is_some_and(|found| found == "md"));
        let mut names: Vec<String> = pages.map(|path| format!("docs/{}", path.display())).collect();
        names.extend(["README.md", "models/zoo/README.md"].map(str::to_owned));
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// The fenced blocks with their language, in order.
    ///
    /// ```
    /// use rift_tests::document::Page;
    /// let text = "Say\n```sh\nls\n```\nand\n```\n1\n```\n".to_owned();
    /// let page = Page { name: "a.md".to_owned(), text };
    /// assert_eq!(page.blocks(), [("sh", "ls\n".to_owned()), ("", "1\n".to_owned())]);
    /// assert_eq!(page.prose(), "Say\nand\n");
    /// ```
    pub fn blocks(&self) -> Vec<(&str, String)> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let inside = lines.by_ref().take_while(|line| !line.starts_with("```"));
                blocks.push((language, inside.flat_map(|line| [line, "\n"]).collect()));
            }
        }
        blocks
    }

    /// The blocks of commands.
    pub fn commands(&self) -> Vec<String> {
        self.blocks().into_iter().filter(|block| block.0 == "sh").map(|block| block.1).collect()
    }

    /// Everything outside the fenced blocks.
    pub fn prose(&self) -> String {
        let mut is_inside = false;
        let outside = self.text.lines().filter(|line| {
            let fence = line.starts_with("```");
            is_inside ^= fence;
            !is_inside && !fence
        });
        outside.flat_map(|line| [line, "\n"]).collect()
    }
}
