// What the page says, in the reader's language.

const EN = {
  skip: "Skip to the picture", model: "Model", picture: "A picture, attacked here", choose: "Choose a picture",
  drop: "Drop a PNG or JPEG anywhere on this page, paste one, or choose it. It goes to this device and nowhere else.",
  original: "As the model sees it", adversarial: "Adversarial", save: "save",
  times: "Perturbation, × {times}", radius: "How far the attack may go (ε, {norm})", trained: "trained for",
  classes: "Classes", class: "class", before: "as it is", after: "attacked",
  indicator: "Margin and stability under noise are an indicator, no proof.",
  watched: "Margin {margin}; at least {stability} under noise of {eps}",
  stable: "— an ordinary picture keeps at least {threshold}.",
  unstable: "— unstable: an ordinary picture keeps at least {threshold}.",
  no_threshold: "(no threshold: {reason}).",
  audit: "Audit", audited: "{share} of {n} images stay right whatever {attacks} does within {norm} {eps} (95 %: {lower} to {upper})",
  robust: "robust accuracy", clean: "clean accuracy", passed: "passes the gate of {minimum}", failed: "fails the gate of {minimum}",
  made: "made on this device {ago} ago in {seconds}", report: "Whole report", json: "as JSON",
  no_audit: "This server was started without an audit gate, so it has not attacked its model.",
  hint: "Start it with {flag} to have the model attacked before it is served.",
  warnings: "Warnings of the audit: {n}",
  live: "Right now", rate: "images / s", p50: "ms, half of all", p95: "ms, 95 %",
  images: "images since the start", busy: "cores at work", waiting: "requests waiting", memory: "memory",
  unstable_recent: "unstable among the last watched", spark: "Images a second over the last two minutes, now {rate}",
  ready: "ready", not_ready: "not ready", gone: "no answer",
  classifying: "Looking …", attacking: "Attacking within {eps} …",
  says: "The model says {class} ({share}).",
  flipped: "Within {eps} it says {after} ({share}) instead of {before}.",
  held: "It still says {before}: no picture within {eps} was found that changes that.",
  took: "{gradients} gradients, {seconds}",
  blind: "The gradient told the attack nothing here: that no picture was found means nothing.",
  off: "Attacks on demand are off on this server ({flag}).",
  no_model: "No model is served.",
  device: "Everything here is computed by the device that serves this page.",
  token_title: "A token, please", token_why: "This server answers only who has a token. It is kept in this page's memory and forgotten when the page is closed.",
  token: "Token", token_wrong: "This token is not valid.", enter: "Enter",
  alt_original: "The picture as the model sees it", alt_perturbation: "The perturbation, magnified, around grey",
  alt_adversarial: "The adversarial picture, which the model takes for {class}",
  milliseconds: "{n} ms", seconds: "{n} s", minutes: "{n} min", hours: "{n} h", days: "{n} days",
};

const DE = {
  skip: "Zum Bild springen", model: "Modell", picture: "Ein Bild, hier angegriffen", choose: "Bild wählen",
  drop: "PNG oder JPEG irgendwo auf diese Seite ziehen, einfügen oder auswählen. Es geht an dieses Gerät und nirgendwohin sonst.",
  original: "Wie das Modell es sieht", adversarial: "Angriffsbild", save: "speichern",
  times: "Störung, × {times}", radius: "Wie weit der Angriff gehen darf (ε, {norm})", trained: "trainiert für",
  classes: "Klassen", class: "Klasse", before: "unverändert", after: "angegriffen",
  indicator: "Abstand und Stabilität unter Rauschen sind ein Anzeichen, kein Beweis.",
  watched: "Abstand {margin}; unter Rauschen von {eps} mindestens {stability}",
  stable: "– ein gewöhnliches Bild behält mindestens {threshold}.",
  unstable: "– instabil: ein gewöhnliches Bild behält mindestens {threshold}.",
  no_threshold: "(keine Schwelle: {reason}).",
  audit: "Prüfung", audited: "{share} von {n} Bildern bleiben richtig, was {attacks} innerhalb von {norm} {eps} auch tut (95 %: {lower} bis {upper})",
  robust: "robuste Genauigkeit", clean: "Genauigkeit ohne Angriff", passed: "besteht die Schranke von {minimum}", failed: "verfehlt die Schranke von {minimum}",
  made: "vor {ago} auf diesem Gerät in {seconds} erstellt", report: "Ganzer Bericht", json: "als JSON",
  no_audit: "Dieser Server wurde ohne Prüfschranke gestartet und hat sein Modell nicht angegriffen.",
  hint: "Mit {flag} wird das Modell angegriffen, bevor es bedient wird.",
  warnings: "Warnungen der Prüfung: {n}",
  live: "Jetzt gerade", rate: "Bilder / s", p50: "ms, die Hälfte", p95: "ms, 95 %",
  images: "Bilder seit dem Start", busy: "Kerne beschäftigt", waiting: "Anfragen warten", memory: "Speicher",
  unstable_recent: "instabil unter den zuletzt beobachteten", spark: "Bilder pro Sekunde in den letzten zwei Minuten, jetzt {rate}",
  ready: "bereit", not_ready: "nicht bereit", gone: "keine Antwort",
  classifying: "Sieht hin …", attacking: "Greift innerhalb von {eps} an …",
  says: "Das Modell sagt {class} ({share}).",
  flipped: "Innerhalb von {eps} sagt es {after} ({share}) statt {before}.",
  held: "Es sagt weiterhin {before}: innerhalb von {eps} fand sich kein Bild, das daran etwas ändert.",
  took: "{gradients} Gradienten, {seconds}",
  blind: "Der Gradient sagt dem Angriff hier nichts: dass kein Bild gefunden wurde, heißt nichts.",
  off: "Angriffe auf Abruf sind auf diesem Server ausgeschaltet ({flag}).",
  no_model: "Es wird kein Modell bedient.",
  device: "Alles hier rechnet das Gerät, das diese Seite ausliefert.",
  token_title: "Bitte ein Token", token_why: "Dieser Server antwortet nur, wer ein Token hat. Es bleibt im Speicher dieser Seite und ist vergessen, sobald sie geschlossen wird.",
  token: "Token", token_wrong: "Dieses Token gilt nicht.", enter: "Eintreten",
  alt_original: "Das Bild, wie das Modell es sieht", alt_perturbation: "Die Störung, vergrößert, um Grau",
  alt_adversarial: "Das Angriffsbild, das das Modell für {class} hält",
  milliseconds: "{n} ms", seconds: "{n} s", minutes: "{n} min", hours: "{n} h", days: "{n} Tagen",
};

const JA = {
  skip: "画像へ移動", model: "モデル", picture: "画像をこの場で攻撃", choose: "画像を選ぶ",
  drop: "PNG または JPEG をこのページにドロップするか、貼り付けるか、選んでください。画像はこの装置だけに送られます。",
  original: "モデルが見る画像", adversarial: "敵対的画像", save: "保存",
  times: "摂動(× {times})", radius: "攻撃の許容範囲(ε, {norm})", trained: "訓練時",
  classes: "クラス", class: "クラス", before: "元のまま", after: "攻撃後",
  indicator: "マージンと雑音下の安定性は目安であり、証明ではありません。",
  watched: "マージン {margin}、{eps} の雑音の下で最小 {stability}",
  stable: "— 通常の画像は {threshold} 以上を保ちます。",
  unstable: "— 不安定: 通常の画像は {threshold} 以上を保ちます。",
  no_threshold: "(しきい値なし: {reason})",
  audit: "監査", audited: "{n} 枚のうち、{norm} {eps} 以内で {attacks} が何をしても正しく分類されたのは {share}(95 %: {lower}~{upper})",
  robust: "ロバスト精度", clean: "通常の精度", passed: "基準 {minimum} に合格", failed: "基準 {minimum} に不合格",
  made: "{ago}前にこの装置で実施(所要 {seconds})", report: "報告書全文", json: "JSON で",
  no_audit: "このサーバーは監査ゲートなしで起動されたため、モデルはまだ攻撃されていません。",
  hint: "{flag} を付けて起動すると、提供前にモデルが攻撃されます。",
  warnings: "監査の警告: {n} 件",
  live: "現在の状況", rate: "枚 / 秒", p50: "ms、中央値", p95: "ms、95 %",
  images: "起動後の画像数", busy: "稼働中のコア", waiting: "待機中の要求", memory: "メモリ",
  unstable_recent: "最近の監視対象のうち不安定", spark: "直近 2 分間の毎秒の画像数、現在 {rate}",
  ready: "準備完了", not_ready: "準備中", gone: "応答なし",
  classifying: "分類しています…", attacking: "{eps} 以内で攻撃しています…",
  says: "モデルの答えは {class}({share})です。",
  flipped: "{eps} 以内で、答えが {before} から {after}({share})に変わります。",
  held: "答えは {before} のままです。{eps} 以内で答えを変える画像は見つかりませんでした。",
  took: "勾配 {gradients} 回、{seconds}",
  blind: "ここでは勾配から何も得られないため、画像が見つからなくても何の保証にもなりません。",
  off: "このサーバーでは随時の攻撃は無効です({flag})。",
  no_model: "提供中のモデルがありません。",
  device: "ここに示すものはすべて、このページを提供する装置が計算しています。",
  token_title: "トークンが必要です", token_why: "このサーバーはトークンを持つ相手にだけ答えます。トークンはこのページのメモリだけに置かれ、閉じると消えます。",
  token: "トークン", token_wrong: "このトークンは無効です。", enter: "入る",
  alt_original: "モデルが見る画像", alt_perturbation: "灰色を中心に拡大した摂動",
  alt_adversarial: "モデルが {class} と見なす敵対的画像",
  milliseconds: "{n} ミリ秒", seconds: "{n} 秒", minutes: "{n} 分", hours: "{n} 時間", days: "{n} 日",
};

const ALL = { en: EN, de: DE, ja: JA };
const wanted = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2));

/** The language of the page: the first of the reader's that it speaks. */
export const language = wanted.find((tag) => tag in ALL) ?? "en";

/** A text, with values in the place of their names. */
export function text(key, values = {}) {
  return ALL[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A number with so many digits after the point. */
export function number(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A fraction in percent. */
export function percent(fraction, digits = 1) {
  return `${number(fraction * 100, digits)} %`;
}

/** A time in the unit that suits it. */
export function time(seconds) {
  if (seconds < 1) return text("milliseconds", { n: number(seconds * 1000) });
  const [unit, size] = [["days", 86400], ["hours", 3600], ["minutes", 60]].find(([, size]) => seconds >= 2 * size) ?? ["seconds", 1];
  const n = seconds / size;
  return text(unit, { n: number(n, size === 1 && n < 10 ? 1 : 0) });
}

/** Puts every text of the page in its place. */
export function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
}
