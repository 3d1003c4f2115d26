//! Meeting notes to a list of what is to be done, as JSON.

use super::{Task, join_request};
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer, json_line};
use crate::words;
use serde_json::{Value, json};

/// The task.
pub const TASK: Task = Task { name: "todo", scoring: Scoring::Json, weight: 16, max_tokens: 224, write };

fn write(w: Writer) -> Example {
    let mut w = w;
    let count = [1, 1, 2, 2, 2, 3, 3, 4][w.below(8)];
    let count = if w.chance(4) { 0 } else { count };
    let names = words::people(&mut w, count + 2);
    let mut lines = Vec::new();
    for name in &names[..count] {
        lines.push(to_do(&mut w, name));
    }
    let remarks = if count == 0 { 2 } else { w.below(3) };
    for name in &names[count..count + remarks.min(2)] {
        let at = w.below(lines.len() + 1);
        let remark = remark(&mut w, name);
        lines.insert(at, remark);
    }
    let (sentences, items): (Vec<String>, Vec<Option<Value>>) = lines.into_iter().unzip();
    let items: Value = items.into_iter().flatten().collect();
    let notes = lay_out(&mut w, &sentences);
    let ask = w.language().pick(ASK_ZH, ASK_EN);
    let ask = w.phrase(ask, &[]);
    let question = join_request(&mut w, &ask, &notes);
    let answer = json_line(&items);
    Example::new(w, question, answer, items)
}

/// The notes: lines with or without a mark, or one paragraph, also with semicolons.
fn lay_out(w: &mut Writer, sentences: &[String]) -> String {
    let space = w.language().pick("", " ");
    match w.below(5) {
        3 => {
            let (stop, semicolon) = w.language().pick(('。', "；"), ('.', "; "));
            let bare: Vec<&str> = sentences.iter().map(|s| s.trim_end_matches(stop)).collect();
            bare.join(semicolon)
        }
        0 => sentences.iter().map(|s| format!("- {s}")).collect::<Vec<_>>().join("\n"),
        1 => sentences.join(space),
        2 => sentences
            .iter()
            .enumerate()
            .map(|(i, s)| format!("{}. {s}", i + 1))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => sentences.join("\n"),
    }
}

/// A sentence with something to do, and the item that it becomes.
fn to_do(w: &mut Writer, owner: &str) -> (String, Option<Value>) {
    let task = task(w);
    let due = words::due(w);
    let slots = [("owner", owner), ("task", task.as_str()), ("due", due.as_str())];
    let (full, no_due, no_owner) =
        w.language().pick((FULL_ZH, NO_DUE_ZH, NO_OWNER_ZH), (FULL_EN, NO_DUE_EN, NO_OWNER_EN));
    match w.below(10) {
        0 => {
            let text = w.phrase(no_due, &slots);
            (text, Some(json!({"task": task, "owner": owner, "due": null})))
        }
        1 => {
            let text = w.phrase(no_owner, &slots);
            (text, Some(json!({"task": task, "owner": null, "due": due})))
        }
        _ => {
            let text = w.phrase(full, &slots);
            (text, Some(json!({"task": task, "owner": owner, "due": due})))
        }
    }
}

/// A sentence with nothing to do.
fn remark(w: &mut Writer, name: &str) -> (String, Option<Value>) {
    let topic = topic(w);
    let of = w.language().pick(REMARKS_ZH, REMARKS_EN);
    (w.phrase(of, &[("name", name), ("topic", &topic)]), None)
}

/// What is to be done: a verb and its object.
fn task(w: &mut Writer) -> String {
    w.entity(&mut |w| {
        let thing = topic(w);
        match w.language() {
            Language::En => {
                let verb = w.write(VERBS_EN, &[]);
                let tail = match w.below(6) {
                    0 => format!(
                        " to {}",
                        w.write("<the client|the team|finance|legal|the board|sales|the printer>", &[])
                    ),
                    1 => format!(
                        " with {}",
                        w.write("<the team|marketing|support|the supplier|IT|design>", &[])
                    ),
                    2 => format!(
                        " for {}",
                        w.write("<the launch|the audit|the fair|the new office|the interns>", &[])
                    ),
                    _ => String::new(),
                };
                format!("{verb} the {thing}{tail}")
            }
            Language::Zh => match w.below(5) {
                0 => format!(
                    "把{thing}{}",
                    w.write("<发给客户|发给财务|交给法务|寄给供应商|上传到网盘|贴到公告栏|发给全组>", &[])
                ),
                1 => format!(
                    "跟{}{}{thing}",
                    w.write("<市场部|财务部|供应商|客户|设计组|客服组>", &[]),
                    w.write("<确认|讨论|核对>", &[])
                ),
                _ => format!("{}{thing}", w.write(VERBS_ZH, &[])),
            },
        }
    })
}

/// A thing that meetings are about.
fn topic(w: &mut Writer) -> String {
    match w.language() {
        Language::En => match w.below(5) {
            0 => format!("{} {}", words::made_up(w), w.write(NOUNS_EN, &[])),
            1 => w.write(NOUNS_EN, &[]),
            _ => format!("{} {}", w.write(KINDS_EN, &[]), w.write(NOUNS_EN, &[])),
        },
        Language::Zh => match w.below(5) {
            0 => format!("{}{}{}", words::hanzi(w), words::hanzi(w), w.write(NOUNS_ZH, &[])),
            1 => w.write(NOUNS_ZH, &[]),
            _ => format!("{}{}", w.write(KINDS_ZH, &[]), w.write(NOUNS_ZH, &[])),
        },
    }
}

const VERBS_EN: &str = "<send|prepare|review|update|check|draft|book|order|fix|test|translate|print|collect|publish|archive|finish|\
    present|rewrite|cancel|confirm|share|upload|sign|clean up|plan|measure|compare|pack|install|close|renew|\
    correct|schedule|approve>";
const KINDS_EN: &str = "<new|old|final|quarterly|annual|weekly|customer|sales|travel|training|server|office|product|press|safety|\
    hiring|budget|project|website|warehouse|payment|summer|winter|second|first|internal|missing|updated|French|\
    mobile>";
const NOUNS_EN: &str = "<report|contract|slides|invoice|plan|list|offer|survey|poster|video|form|guide|backup|schedule|budget|\
    agenda|newsletter|database|prototype|samples|photos|tickets|room|brochure|checklist|minutes|numbers|labels|\
    page|logo|keys|licence|desk|catalogue|forecast|interface|dashboard|script|proposal|roadmap>";
const VERBS_ZH: &str = "<整理|准备|检查|更新|修改|打印|预订|起草|测试|翻译|归档|核对|提交|撰写|收集|发布|完成|安排|签署|补充|统计|\
    购买|安装|审核|汇总|设计|拍摄|校对|取消|确认>";
const KINDS_ZH: &str = "<新版|旧版|第三季度|年度|每周|客户|销售|差旅|培训|服务器|办公室|产品|新闻|安全|招聘|项目|官网|仓库|付款|\
    夏季|春节|内部|移动端|英文|市场|采购|会员|门店|测试|展会>";
const NOUNS_ZH: &str = "<报告|合同|幻灯片|发票|计划|名单|报价|问卷|海报|视频|表格|手册|备份|日程|预算表|议程|简报|数据库|样机|\
    样品|照片|门票|会议室|宣传册|清单|纪要|数据|标签|页面|标志|钥匙|许可证|目录|预测|界面|看板|脚本|方案|\
    路线图|文档>";

const FULL_EN: &[&str] = &[
    "{owner} <will|should|must|can|has to|needs to|is going to|is to> {task} <by|before> {due}.",
    "{owner} <agreed|promised|offered|volunteered|wants|plans> to {task} <by|before> {due}.",
    "<By|Before> {due}, {owner} <will|should|must|needs to|has to> {task}.",
    "{owner}: {task}<, due| by| before|, deadline> {due}.",
    "{owner}: {task} (<by |due |before |deadline |>{due})",
    "{owner} - {task} - {due}",
    "<We asked|The team asked|Everyone wants|I told> {owner} to {task} <by|before> {due}.",
    "{owner} has <until|time until> {due} to {task}.",
    "<Action|Task|To do|Next step> for {owner}: {task} <by|before> {due}.",
    "@{owner} <please|you will|you should> {task} <by|before> {due}.",
    "It was <decided|agreed> that {owner} <will|should> {task} <by|before> {due}.",
    "{owner} <will|should|must> {task}<; the deadline is|; it is due|, no later than|, due> {due}.",
    "The <deadline|due date> for {owner} to {task} is {due}.",
    "{owner} to {task} <by|before> {due}.",
    "{owner} <will|should|must|to> {task} {due}.",
    "{due} {owner} <will|should|must|has to> {task}.",
];
const NO_DUE_EN: &[&str] = &[
    "{owner} <will|should|must|can|has to|needs to|is going to> {task}.",
    "{owner} <should|will> {task} <soon|when there is time|at some point>.",
    "{owner} to {task}<|, no date yet>.",
    "<We asked|I told|The team asked> {owner} to {task}.",
    "{owner} <agreed|promised|offered> to {task}.",
    "<Action|Task|To do> for {owner}: {task}.",
];
const NO_OWNER_EN: &[&str] = &[
    "<Somebody|Someone> <has to|should|must|needs to> {task} <by|before> {due}.",
    "We <still need|are looking for> <a person|somebody> to {task} <by|before> {due}.",
    "Nobody has taken this yet: {task} <by|before> {due}.",
    "<To be assigned|No owner yet|Open>: {task} <by|before> {due}.",
];
const REMARKS_EN: &[&str] = &[
    "{name} <reported|said|told us> that the {topic} <went well|is on track|looks good|is done>.",
    "The {topic} is <already done|finished|fine>, {name} said.",
    "{name} thanked <everybody|the team|us> for the {topic}.",
    "{name} <was ill|was on leave|came late|had no news|opened the meeting|closed the meeting>.",
    "We <talked about|discussed|looked at> the {topic}<| for a while>.",
    "Nobody had questions about the {topic}.",
    "{name} <liked|praised|enjoyed> the {topic}.",
    "Costs of the {topic} stayed below plan.",
];
const ASK_EN: &[&str] = &[
    "<Turn|Convert|Change> <these|the following|my> <meeting notes|notes|minutes> <into|to> a <to-do list|task list><| as JSON|, as JSON|. Use JSON>.",
    "<Extract|List|Find|Collect|Give me> the <to-dos|tasks|action items> <from|in> <these|the> <meeting notes|notes|minutes> as JSON.",
    "<Meeting notes|Minutes|Notes> to <a to-do list|to-dos|tasks><| in JSON| (JSON)>:",
    "<What|Which things> has to be done, by whom, and when?<| Answer with JSON.| JSON, please.>",
    "<Make|Write|Create> a <to-do list|task list> in JSON <out of|from> <this meeting|these minutes|these notes>.",
    "<To-dos|Tasks|Action items><| as JSON| in JSON>, please:",
    "Read the <minutes|notes|meeting notes> and <write|make> the <to-do list|task list> as JSON.",
    "Who does what until when?<| Answer with JSON.| JSON, please.>",
];
const FULL_ZH: &[&str] = &[
    "{owner}<要|会|需要|将|得|应该|必须|可以|打算|准备>在{due}<前|之前>{task}。",
    "{owner}<答应|同意|承诺|保证|计划|决定><在|>{due}<前|之前>{task}。",
    "{owner}<负责|来|去|>{task}，{due}<前完成|前做好|截止|前交|之前完成>。",
    "<由|请|让|安排|麻烦|派>{owner}{task}，<截止|期限|期限是|最晚|不晚于|时间是>{due}。",
    "<由|请|让|安排|麻烦>{owner}{task}，{due}<前完成|前给结果|前|交>。",
    "{due}<前|之前>，<请|由|让|>{owner}{task}。",
    "{due}<前|之前>，{owner}<要|会|需要|得|负责>{task}。",
    "{owner}：{task}，{due}<前|之前|截止|前完成>。",
    "{owner}：{task}（{due}<|前|截止>）",
    "<会上定了|大家同意|决定>由{owner}{task}，<时间是|期限是|截止|最晚>{due}。",
    "@{owner} {task}，{due}<前|之前|截止>。",
    "{owner}<主动提出|说会|表示会|说可以>{task}，{due}<之前做好|前完成|交>。",
    "<下一步|任务|行动项|待办>：{owner}{task}，{due}<截止|前|前完成>。",
    "{owner}<承诺|保证|答应|同意>{task}，<不晚于|最晚|期限|截止>{due}。",
    "{owner}<应|须|要|需>于{due}<前|之前>{task}。",
    "{owner}{due}<前|之前|>{task}。",
    "{due}{owner}<要|得|负责|来|>{task}。",
];
const NO_DUE_ZH: &[&str] = &[
    "{owner}<负责|要|会|需要|得|来|将>{task}。",
    "<请|由|让|安排|麻烦>{owner}{task}<|，时间待定|，不急|，日期没定>。",
    "{owner}<答应|同意|承诺>{task}。",
    "{owner}<有空时|以后|回头>{task}。",
    "<任务|待办|下一步>：{owner}{task}。",
];
const NO_OWNER_ZH: &[&str] = &[
    "<还需要|需要|得>有人在{due}<前|之前>{task}。",
    "{due}<前|之前><要|需要|得>{task}，<负责人待定|还没人负责|人选没定>。",
    "{task}<还没人认领|还没人负责>，{due}<前要做完|截止|前完成>。",
    "<待分配|负责人待定>：{task}，{due}<前|截止>。",
];
const REMARKS_ZH: &[&str] = &[
    "{name}<汇报说|说|告诉大家>{topic}<进展顺利|已经做完了|没有问题|很顺利>。",
    "{name}感谢<大家|同事|团队>对{topic}的支持。",
    "{name}<今天|这次|><请假|迟到|生病|缺席>了。",
    "<大家|会上>讨论了{topic}<，没有新的安排|，没有结论|>。",
    "<关于|对>{topic}<没有人提问|大家没有意见>。",
    "{name}<很喜欢|表扬了|称赞了>{topic}。",
    "{topic}的费用<没有超支|低于计划|在预算内>。",
    "{name}<主持了会议|宣布散会|做了开场>。",
];
const ASK_ZH: &[&str] = &[
    "<把|请把|将><下面的|以下|这份><会议记录|会议纪要|记录|纪要><整理成|转成|变成|写成><待办|待办清单|待办事项><，用JSON|（JSON）|，JSON格式|>。",
    "<请|><从|根据><会议记录|会议纪要|记录|纪要><提取|找出|列出|整理><待办|待办事项|任务>，<输出|用|返回>JSON。",
    "<会议记录|会议纪要|记录>转<待办|任务><（JSON）|>：",
    "谁要在什么时候做什么？<|用JSON回答。|输出JSON。>",
    "<请|>找出所有<要做的事|待办|任务>，<给出|输出|返回>JSON。",
    "<待办事项|待办|任务清单><JSON|（JSON）>：",
    "<读一读|看看><纪要|会议记录|记录>，把<待办|任务>写成JSON。",
    "<下面的|这份>记录里有哪些<待办|任务|要做的事>？<返回|输出>JSON。",
];
