"""The words that a checked sentence may be made of, besides names, numbers and titles that are looked up.

A sentence with any other word is dropped: what we cannot read we cannot check, and what we cannot check we do not
publish. So words that order ("ignore", "delete"), calm ("fine", "harmless") or generalise ("all", "always") are left
out on purpose. Words that claim something (a direction, a negation, a cause, a state) are here by what they claim.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UP = _words(
    """
    rose rise rises risen rising increased increase increases increasing higher high above grew grow grows growing
    grown climbed climb climbs climbing jumped jump jumps spiked spike spikes elevated exceeds exceeded exceeding
    more 偏高 升高 上升 增加 增长 高于 变高 飙升 较高 超过 高
    """
)
DOWN = _words(
    """
    fell fall falls fallen falling dropped drop drops dropping decreased decrease decreases decreasing lower low
    below declined decline declines declining reduced sank sunk fewer 偏低 下降 降低 减少 低于 变低 下跌 较低 低
    """
)
SAME = _words("""unchanged stable steady 符合预期 不变 稳定""")
CAUSAL = _words(
    """
    cause causes caused causing because due explains explain explained leads led lead triggers triggered trigger
    originates originated result results resulted resulting consequence owing attributed responsible behind driven
    drives stems 原因 导致 由于 因为 引起 造成 源于 触发
    """
)
NEGATIVE = _words(
    """
    not no never none neither nor without nothing isn't wasn't aren't weren't doesn't didn't don't cannot can't
    hasn't haven't 不 没有 未 无 非 并非 不是 没
    """
)
EXCLUDING = _words("""ruled excluded exclude excludes rejected unlikely 已排除 排除 不太可能""")
SECONDARY = _words("""also less alternatively alternative second secondary another 其次 也有可能 较低 次要 另一""")
PRIMARY = _words("""most main root primary top first best 最可能 主要 根本 首要""")
OPEN = _words("""goes continues continue continuing ongoing still persists lasts 仍 仍在 持续 还在""")
OVER = _words("""ended ends end resolved recovered over finished 结束 已恢复 恢复 结束于""")
BEGIN = _words("""began begin begins begun started starts start starting since onset 始于 开始 起 自""")
CHANGE = _words(
    """
    changed change changes deployed deploy deployment upgraded restarted restart 变更 部署 升级 发生变更
    """
)
SEVERITY = {
    "critical": "critical", "warning": "warning", "info": "info", "严重": "critical", "警告": "warning", "提示": "info",
}  # fmt: skip
FACTORS = {
    "twice": 2.0, "double": 2.0, "doubled": 2.0, "doubles": 2.0, "triple": 3.0, "tripled": 3.0, "half": 0.5,
    "halved": 0.5, "翻倍": 2.0, "减半": 0.5, "一半": 0.5,
}  # fmt: skip
CLAIMING = (UP, DOWN, SAME, CAUSAL, NEGATIVE, EXCLUDING, SECONDARY, PRIMARY, OPEN, OVER, BEGIN, CHANGE,
            frozenset(SEVERITY), frozenset(FACTORS))  # fmt: skip

_ENGLISH = _words(
    """
    a abnormal about accompanied according account accounts action actions add added adds affect affected affects
    after against ago agree agrees alert alerts almost along alongside already although am among amount an and
    anomalous anomaly apparently appear appeared appears approximately are around as associated at average averaged
    baseline batch be became become becomes been before being beside between beyond big bigger both but by cache came
    can candidate candidates capacity case cases clear clearly client clients close closely code combine combined
    come comes compared confidence considerably consistent corresponding could count counts current currently data
    datum degradation degraded degree degrees deliver delivered delivers demand detail detected deviate deviated
    deviates deviating deviation device devices diagnosed diagnosis did difference do does done down during each
    earlier early eight engine engines error errors even evidence exact exactly expect expectation expected expects
    experience experienced experiencing fact facts far fault figure figures find finding findings finds fit fits five
    follow followed follows for found four from gap gave generate generated generates generation get gets give given
    gives go going gone got gpu gpus gradually had happen happened happens hardware has have having he hence here
    here's hit hits host hosts hour hours how however huge if impact in incident incidents indicate indicated
    indicates indicating initial input instance instead into is issue it it's its just keep kept kind known large
    largely larger last late latency later latest length let level levels likely link load loads long longer look
    looks machine machines mainly make makes mark marked markedly marks match matched matches may me mean means meant
    meanwhile measured measurement measurements memory metric metrics might minute minutes model models moment mostly
    move moved moves moving much my name named names near nearly new nine node nodes normal normally notable notably
    note noted notes notice noticed notices now number observe observed occur occurred occurs of old on one only onto
    or our out output outside overall pace part partly parts peak peaked per percent period picture place point
    pointed pointing points pool pools possible possibly precisely pressure previous prior probable probably problem
    process processes produce produced produces prompt propose quickly ran range rank ranked ranker ranking ranks
    rapidly rate rates rather reach reached reaches reading readings reason record recorded reference related
    relation relative relatively remain remained remains replica replicas report reported reports request requesting
    requests respectively response responses roughly run runbook running runs said same say says seconds see seem
    seemed seems seen sees serve served server servers serves service seven severity share sharply she short shorter
    should show showed shown shows side sign signal signals signature significantly signs six size slightly slow
    slowed slower slows small smaller so software some soon speak speaks speed spend spends stand stands state stay
    stayed steadily stood strong stronger strongly substantial substantially such suddenly suffering suggest
    suggested suggesting suggests summary support supported supporting supports symptom symptoms system take taken
    takes target targets tell tells ten than that that's the their them then there there's therefore these they thing
    things this those though three through thus time times to together token tokens told took total trace traces
    track tracks trend turned two under unknown until unusual up us usage use used user users uses usual usually utc
    value values versus very via vs wait waited waiting waits was way we well went were what what's when where
    whereas whether which while who whose will window with within work working works would xid yet you your
    """
)
_CHINESE = _words(
    """
    一 上 下 与 且 个 中 为 也 了 于 仅 从 以 会 但 值 其 内 则 到 前 即 及 受 只 可 后 和 因 在 处 多 大 它 对 将 小
    少 已 并 快 慢 或 指 故 新 旧 时 是 最 有 次 此 比 池 由 略 的 秒 稍 约 级 而 至 被 词 该 达 还 这 都 之前 之后
    之间 事件 事实 代码 以及 任何 位于 位置 体验 依据 信号 候选 值为 偏离 做出 其中 出现 分析 分钟 到达 副本 匹配
    单位 参考 发现 发生 受到 变为 变差 变慢 变成 另外 可以 可能 可见 同时 告警 因此 基准 基线 处于 大幅 大概 大约
    它们 实例 实测 将近 小时 就是 左右 已知 已见 平均 平常 平时 建议 异常 异样 引擎 当前 当时 影响 往常 得出 总体
    情况 感到 感知 我们 所以 报告 指向 指明 指标 排序 接近 操作 支持 故障 数值 数据 整体 方法 时刻 时段 时间 明显
    显示 显著 最大 服务 期间 未知 本次 来自 检测 模型 正常 此前 此外 此时 此次 比较 水平 测到 测得 测量 特征 现在
    现象 用户 监测 目前 相对 相比 相较 看到 突然 窗口 符合 等待 约为 结果 结论 综合 缓慢 至今 节点 表明 观察 观测
    记录 证据 诊断 说明 请求 达到 迅速 过程 这些 逐渐 通常 那些 部分 问题 阶段 预期 主要是 参考值 可能性 基线值
    客户端 很可能 支持该 期间内 检测到 次事件 正常值 水平为 测量值 监测到 目前为 置信度 观测到 记录到 该事件 预期值
    与此同时 偏离最大 处理方法 开始出现 排序方法 操作手册 用户影响
    """
)
KNOWN_WORDS = _ENGLISH | _CHINESE | frozenset().union(*CLAIMING)
_CHINESE_FIRST = sorted((word for word in KNOWN_WORDS if not word.isascii()), key=lambda word: (-len(word), word))
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?|[\u3400-\u9fff]+|[^\W\d_]+|\d+|_+")
_CHINESE_WORD = re.compile("|".join(map(re.escape, _CHINESE_FIRST)) + "|.")


_ENDINGS = ("s", "es", "d", "ed", "ing", "ly")


def is_known(word: str) -> bool:
    """Whether a word is one of ours, also with an ordinary ending where it claims nothing (``reach``: ``reaching``)."""
    if word in KNOWN_WORDS:
        return True
    stems = {word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending)}
    return bool((stems | {f"{stem}e" for stem in stems}) & _ENGLISH)


def words_in(text: str) -> list[tuple[str, int]]:
    """Words of a text with their places: Latin ones in lower case without a possessive, Chinese ones by the longest
    word of ours; a character that no word of ours covers is a word of its own."""
    found: list[tuple[str, int]] = []
    for match in _WORD.finditer(text):
        run = match.group()
        if "\u3400" <= run[0] <= "\u9fff":
            found += [(part.group(), match.start() + part.start()) for part in _CHINESE_WORD.finditer(run)]
        else:
            found.append((run.lower().replace("’", "'").removesuffix("'s"), match.start()))
    return found
