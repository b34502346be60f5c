"""The words that a checked sentence may be made of, besides names, numbers and titles that are looked up.

A sentence with any other word is dropped: what we cannot read we cannot check, and what we cannot check we do not
publish. So words that order ("ignore", "delete"), calm ("fine", "harmless") or generalise ("all", "always") are left
out on purpose. Words that claim something (a direction, a negation, a cause, a state) are here by what they claim.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UP = _words(
    """rose rise rises risen rising increased increase increases increasing higher high above grew grow grows
    growing grown climbed climb climbs climbing jumped jump jumps spiked spike spikes elevated exceeds exceeded
    exceeding more 偏高 升高 上升 增加 增长 高于 变高 飙升 较高 超过 高"""
)
DOWN = _words(
    """fell fall falls fallen falling dropped drop drops dropping decreased decrease decreases decreasing lower low
    below declined decline declines declining reduced sank sunk fewer 偏低 下降 降低 减少 低于 变低 下跌 较低 低"""
)
SAME = _words("""unchanged stable steady 符合预期 不变 稳定""")
CAUSAL = _words(
    """cause causes caused causing because due explains explain explained leads led lead triggers triggered trigger
    originates originated 原因 导致 由于 因为 引起 造成 源于 触发"""
)
NEGATIVE = _words(
    """not no never none neither nor without nothing isn't wasn't aren't weren't doesn't didn't don't cannot can't
    hasn't haven't 不 没有 未 无 非 并非 不是 没"""
)
EXCLUDING = _words("""ruled excluded exclude excludes rejected unlikely 已排除 排除 不太可能""")
SECONDARY = _words("""also less alternatively alternative second secondary another 其次 也有可能 较低 次要 另一""")
PRIMARY = _words("""most main root primary top first best 最可能 主要 根本 首要""")
OPEN = _words("""goes continues continue continuing ongoing still persists lasts 仍 仍在 持续 还在""")
OVER = _words("""ended ends end resolved recovered over finished 结束 已恢复 恢复 结束于""")
BEGIN = _words("""began begin begins begun started starts start starting since onset 始于 开始 起 自""")
CHANGE = _words(
    """changed change changes deployed deploy deployment upgraded restarted restart 变更 部署 升级 发生变更"""
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

_CONNECTING = _words(
    """a an the this that these those it its their there here of at in on for from to by with and or but so as than
    then while when where which who whose what how is are was were be been being am has have had having does did do
    done can could may might would should will about around approximately roughly nearly almost between during
    before after until up down out into onto through within under both per each respectively versus vs compared
    against instead rather likely probably probable possible possibly apparently therefore thus hence meanwhile
    together same time times ago later earlier just only very much well now currently utc 我们 其 该 这 此 的 了 在
    为 是 和 与 或 并 且 但 而 从 到 至 由 以 于 对 中 上 下 后 前 时 期间 之间 约 大约 左右 可能 很可能 因此 所以
    同时 以及 其中 当前 目前 现在 此前 之前 之后 位于 来自 有 被 将 会 也 还 都 内 比 一 个 次 级 及 则 说明 表明
    显示"""
)
_DOMAIN = _words(
    """incident incidents alert alerts pool pools replica replicas node nodes gpu gpus engine engines server
    servers service target targets instance model models user users client clients request requests token tokens
    output input prompt value values level levels rate rates number measured measurement measurements reading
    readings seen see sees shown show shows showed indicate indicates indicated suggest suggests suggested point
    points evidence fact facts finding findings signal signals confidence signature match matches matched fit fits
    rank ranked ranks ranking ranker deviate deviates deviated deviating deviation expected expect expects
    expectation usual usually normal normally baseline reference reach reaches reached stand stands stood report
    reports reported record recorded observe observed notice notices noticed affect affects affected impact
    experience experienced wait waits waited waiting spend spends run runs running ran serve served serves summary
    diagnosis diagnosed named name names known unknown candidate candidates support supports supported supporting
    speak speaks consistent agree agrees accompanied came come comes moment window period minute minutes second
    seconds hour hours percent degree degrees detected according given reason likely runbook action actions kind
    detail link errors error latency severity state xid code number range slow slower slowed slows long longer 事件
    告警 池 副本 节点 引擎 服务 实例 模型 用户 客户端 请求 词 值 数值 水平 测量 测量值 证据 依据 事实 信号 置信度
    特征 匹配 符合 排序 方法 排序方法 偏离 偏离最大 最大 预期 通常 正常 基线 达到 报告 记录 观察 发现 影响 用户影响
    感知 等待 诊断 候选 支持 时间 时刻 窗口 分钟 秒 小时 操作手册 操作 处理方法 最 大 已见 代码 发生 位置 指标 数据
    已知 未知 首要 单位 可能性 指明 做出 建议"""
)
KNOWN_WORDS = _CONNECTING | _DOMAIN | frozenset().union(*CLAIMING)
_CHINESE = sorted((word for word in KNOWN_WORDS if not word.isascii()), key=lambda word: (-len(word), word))
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?|[\u3400-\u9fff]+|[^\W\d_]+|\d+|_+")
_CHINESE_WORD = re.compile("|".join(map(re.escape, _CHINESE)) + "|.")


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
