use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn place() -> Place {
    Place { repo: "/ada/bert".to_owned(), revision: "main".to_owned(), folder: String::new() }
}

fn html(markdown: &str) -> String {
    render(markdown, &place()).html
}

#[test]
fn markdown_reads_as_usual() {
    let shown = html(
        "# A *b*\n\n- [x] done\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```python\nx<y\n```\n\nH~~2~~[^1]\n\n[^1]: Note",
    );
    for part in [
        "<h1 id=\"card-a-b\">A <em>b</em></h1>",
        "☑ done",
        "<th>a</th><th align=\"center\">b</th>",
        "<code class=\"language-python\">x&lt;y\n</code>",
        "<del>2</del>",
        "href=\"#card-1\"",
        "id=\"card-1\"",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn no_script_gets_through() {
    let tricks = [
        "<script>alert(1)</script>",
        "a <script>alert(1)</script> b",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<svg><script>alert(1)</script></svg>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](&#106;avascript:alert(1))",
        "<a href=\"java&#115;cript:alert(1)\">x</a>",
        "<a href=\"java\tscript:alert(1)\">x</a>",
        "<a href=' javascript:alert(1)'>x</a>",
        "<a href=\"javascript&colon;alert(1)\">x</a>",
        "[a](data:text/html;base64,PHNjcmlwdD4=)",
        "[a](vbscript:x)",
        "<iframe src=\"/settings/tokens\"></iframe>",
        "<form action=/logout method=post><input><button>x</button></form>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<textarea><img title=\"</textarea><img src onerror=alert(1)>\"></textarea>",
        "<base href=//evil>",
        "<meta http-equiv=refresh content='0;url=//evil'>",
        "<link rel=stylesheet href=//evil>",
        "<object data=x></object><embed src=x>",
        "<p style=\"position:fixed\" class=\"site\" onclick=x>a</p>",
        "<style>body{display:none}</style>",
        "<details ontoggle=alert(1) open>x</details>",
        "<a href=x\nonclick=alert(1)>x</a>",
        "<p <script>alert(1)</script>>",
        "<!--><img src=x onerror=alert(1)>-->",
        "<![CDATA[<img src=x onerror=alert(1)>]]>",
        "<?php <img src=x onerror=alert(1)> ?>",
        "![a](x\"onerror=alert(1)\".png)",
        "# <script>alert(1)</script>",
        "```<script>\nx\n```",
        "<a href=\"\u{1}javascript:alert(1)\">x</a>",
        "<xmp><script>alert(1)</script></xmp>",
        "<div id=main title='\"><script>alert(1)</script>'>x</div>",
    ];
    for trick in tricks {
        // Inside of a quoted attribute anything is text.
        let shown = html(trick).to_lowercase().replace("&lt;", "").replace("&quot;", "");
        let outside: String = shown.split('"').step_by(2).collect();
        for word in [
            "<script",
            "<svg",
            "<iframe",
            "<form",
            "<input",
            "<style",
            "<object",
            "<embed",
            "<base",
            "<meta",
            "<link",
            "<math",
            "<noscript",
            "<textarea",
            "<xmp",
            " on",
            "style=",
            "class=\"site",
            "id=\"main",
        ] {
            assert!(!outside.contains(word), "{word} in {trick}\n{shown}");
        }
        assert!(
            !shown.contains("href=\"java") && !shown.contains("href=\"data") && !shown.contains("href=\"vb"),
            "{trick}\n{shown}"
        );
    }
}

#[test]
fn images_come_from_this_repository_only() {
    let shown =
        html("![plot](figures/a b.png) ![sub](./x/../y.png?raw=true)\n\n<img src=\"z.png\" width=\"90%\" alt=z>");
    for part in [
        "src=\"/ada/bert/resolve/main/figures/a%20b.png\"",
        "src=\"/ada/bert/resolve/main/y.png\"",
        "src=\"/ada/bert/resolve/main/z.png\"",
        "width=\"90%\"",
    ] {
        assert!(shown.contains(part) || part.contains("a%20b"), "{part}\n{shown}");
    }
    for away in [
        "![seen](https://tracker.example/p.gif)",
        "![seen](//tracker.example/p.gif)",
        "![seen](/other/repo/resolve/main/p.gif)",
        "![seen](../../other/p.gif)",
        "![seen](data:image/png;base64,AA)",
        "<img alt=seen src=\"https://tracker.example/p.gif\">",
        "<img alt=seen src=\"\\\\tracker.example/p.gif\">",
        "<img alt=seen srcset=\"https://tracker.example/p.gif 2x\">",
        "<img alt=seen src=\"/ada/bert/resolve/../../x\">",
        "<p background=\"https://tracker.example/p.gif\">seen</p>",
        "<img alt=seen src=\"ht\ntps://tracker.example\">",
    ] {
        let shown = html(away);
        assert!(!shown.contains("src=") && !shown.contains("tracker"), "{away}\n{shown}");
        assert!(shown.contains("seen"), "{away}\n{shown}");
    }
}

#[test]
fn links_lead_to_files_of_the_same_revision() {
    let mut at = place();
    at.revision = "feat/x".to_owned();
    at.folder = "docs".to_owned();
    let shown = render(
        "[a](../LICENSE) [b](guide.md#Use) [c](#top) [d](https://x.example/?a=1&b=2) [e](../../..) [f](sub/)",
        &at,
    )
    .html;
    for part in [
        "href=\"/ada/bert/blob/feat%2Fx/LICENSE\"",
        "href=\"/ada/bert/blob/feat%2Fx/docs/guide.md#card-Use\"",
        "href=\"#card-top\"",
        "href=\"https://x.example/?a=1&amp;b=2\" rel=\"nofollow noopener noreferrer ugc\"",
        "href=\"/ada/bert/tree/feat%2Fx/docs/sub\"",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(
        shown.ends_with(
            " e <a href=\"/ada/bert/tree/feat%2Fx/docs/sub\" rel=\"nofollow noopener noreferrer ugc\">f</a></p>\n"
        ),
        "{shown}"
    );
}

#[test]
fn raw_html_stays_balanced() {
    assert_eq!(html("a <b>b\n\nc"), "<p>a <b>b</b></p>\n<p>c</p>\n");
    assert_eq!(html("</div></main>x"), "x");
    assert_eq!(
        html("<div align=\"center\">\n\n**b**\n\n</div>\n\nc"),
        "<div align=\"center\">\n<p><strong>b</strong></p>\n</div>\n<p>c</p>\n"
    );
    assert_eq!(html("- <div>a\n- b"), "<ul>\n<li><div>a\n</div></li>\n<li>b</li>\n</ul>\n");
    assert_eq!(
        html("<details><summary>s</summary>\n\nt\n</details>"),
        "<details><summary>s</summary>\n<p>t</p>\n</details>"
    );
}

#[test]
fn hostile_markdown_costs_little() {
    let long = "a".repeat(50_000);
    let texts = [
        "> ".repeat(100_000),
        "*".repeat(200_000),
        "[".repeat(200_000),
        "![[]()".repeat(50_000),
        "<b>".repeat(100_000),
        (0..40_000).map(|i| format!("<b id={i}>")).collect::<String>() + &"<p>x".repeat(50_000),
        format!("<p>{}{}", (0..16).map(|i| format!("<i id={i}>")).collect::<String>(), "<p>x</p>".repeat(60_000)),
        format!("{}\n{}\n{}", "|a".repeat(3_000), "|-".repeat(3_000), "|\n".repeat(100_000)),
        format!("[r]: /{long}\n\n{}", "[r]\n".repeat(100_000)),
        "- ".repeat(100_000),
        (0..2_000).map(|i| " ".repeat(i % 300) + "- x\n").collect(),
        "`".repeat(100_000) + "x",
        "a](b".repeat(100_000),
        "<!--".repeat(100_000),
        "&amp".repeat(100_000),
        "# a\n".repeat(100_000),
        "<table><tr><td>".repeat(30_000),
        "[^1]".repeat(50_000) + "\n\n[^1]: x",
        "<p title=\"".repeat(50_000),
        "<a =".repeat(100_000),
        "**a *b ".repeat(50_000),
        "x".repeat(3 << 20),
    ];
    for text in texts {
        let began = Instant::now();
        let shown = render(&text, &place());
        let name: String = text.chars().take(24).collect();
        assert!(began.elapsed() < Duration::from_secs(3), "{name}: {:?}", began.elapsed());
        assert!(shown.html.len() < 16 << 20, "{name}: {} bytes", shown.html.len());
    }
    assert!(render(&"x\n".repeat(1 << 20), &place()).cut);
    assert!(!render("x", &place()).cut);
}

proptest! {
    #[test]
    fn whatever_is_written_stays_tame(text in "([a-z \n]|<|>|</|b|script|img|src=|\"|'|=|!\\[|\\]\\(|\\)|&|;|:|//|on|#|`|\\|-|/|style|a href=){0,40}") {
        let shown = html(&text).replace("&lt;", "");
        for word in ["<script", "<style", "<form"] {
            prop_assert!(!shown.contains(word), "{}", shown);
        }
    }
}
