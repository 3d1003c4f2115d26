//! The things that passages tell of, what is told of them, and how it is asked for.

mod people;
mod places;
mod products;
mod projects;
mod values;

use super::Kind;

pub(super) const KINDS: &[Kind] = &[places::PLACES, people::PEOPLE, products::PRODUCTS, projects::PROJECTS];

// What tells nothing: `{p}` is a person, `{n}` a number. The kinds have about as many forms each, since forms are drawn alike.
pub(super) const FILLERS_EN: &[&str] = &[
    "Please <keep the doors closed|be quiet|wait in line|bring your papers|book early|take no pictures|be on time><| here|, thank you>.",
    "<This page|This text|The table|The list> was <updated|checked|published> <last week|yesterday|this month>.",
    "<Thank you|Thanks> for <reading|your visit|your help|your patience|your interest|your letters><|, everyone| and see you soon>.",
    "More <news|details|dates|pictures> will <follow|be announced|be given> <soon|later|next month>.",
    "All <figures|pictures|texts> are <without guarantee|subject to change|given as they are|for information only>.",
    "<Visitors|Guests|Questions|New ideas|Groups> are <welcome|always welcome|welcome every day|very welcome>.",
    "<Questions|Letters|Complaints|Forms> go to the <front desk|information desk|help desk|main office|counter>.",
    "<This page|The text|The list> was <written|checked|translated> by {p}<| last week>.",
    "{p} <thanks|greets|wrote to> <all readers|all visitors|the team|everyone>.",
    "<The weather|Traffic|The mood> <was|is|stays> <good|calm|as usual> <today|this week>.",
    "<Page|See page|Continued on page> {n}<|, second part|, first part>.",
    "{n} <readers|visitors|letters> <so far|this week|last month>.",
    "<Coffee|Tea|Water> is <free|for everyone|at the counter><| today|, as always>.",
];
pub(super) const FILLERS_ZH: &[&str] = &[
    "<请|请您|请务必|请记得><随手关门|保持安静|排队等候|带好证件|提前预约|不要拍照|准时到场>。",
    "<本页|本文|此表|以上内容><上周|昨天|本月|最近><更新|发布|核对>。",
    "<感谢|谢谢|多谢><|您的|各位的|大家的><阅读|支持|关注|配合|来信>。",
    "更多<消息|内容|日期|图片><稍后|随后|下月><公布|发布|更新>。",
    "<数据|内容|图片|文字><仅供参考|以实际为准|可能有变|不作保证|如有出入请谅解>。",
    "<欢迎|随时欢迎|热烈欢迎|期待><来访|光临|参观|提出意见|团体来访>。",
    "<有问题|有疑问|有意见|需要帮助>请<咨询|联系|找><前台|服务台|我们>。",
    "<本页|本文|此表>由{p}<编写|核对|翻译><|，特此说明>。",
    "{p}<感谢|问候|致信><各位读者|各位来宾|全体同事|大家>。",
    "<天气|交通|气氛><今天|本周|最近><很好|正常|还是老样子>。",
    "<第|见第|接第>{n}页<|，下半部分|，上半部分>。",
    "<目前|本周|上月><已有|共有>{n}<位读者|封来信|次浏览>。",
    "<咖啡|茶水|报纸><免费|人人有份|在服务台领取><|，照例如此>。",
];
pub(super) const PROMPTS_EN: &[&str] = &[
    "{passages}\n\n<Question: |Q: |>{question}",
    "<Passages|Sources|Documents|Context|Text>:\n{passages}\n\n<Question: |Now: |>{question}",
    "<Answer|Reply> <from|with|by> the <passages|sources|documents> and cite them.\n{passages}\n<|\n>{question}",
    "{question}\n\n<Passages|Sources|Documents|Context>:\n{passages}",
    "Use only <these|the following> <passages|sources|documents>:\n{passages}\n\n{question}",
    "{question} <Answer|Reply> with a citation from <these|the> <passages|sources>.\n{passages}",
    "<Read|Look at> <this|these passages|the sources>:\n{passages}\n\n<Now tell me|Question|Then answer>: {question}",
    "<According to|From|Based on> the <sources|passages|documents> below: {question}\n{passages}",
    "<Here is what we know|This is what we know|This is known|Here is what is known|These are our documents|Here are our documents|These are our sources>.\n{passages}\n{question}",
    "<Cite|Give|Name|Please cite|Please give|Please name> <your|the> <source|sources>. {question}\n\n{passages}",
];
pub(super) const PROMPTS_ZH: &[&str] = &[
    "{passages}\n\n<问题：|问：|>{question}",
    "<资料|文档|来源|材料|内容>：\n{passages}\n\n<问题：|请问：|>{question}",
    "<根据|按照|依据><资料|材料|来源>回答<并注明出处|，注明来源|>。\n{passages}\n<|\n>{question}",
    "{question}\n\n<资料|文档|来源|材料>：\n{passages}",
    "只<根据|依据|用>以下<资料|内容|文档|材料><回答|>：\n{passages}\n\n{question}",
    "{question}请<引用|根据|按照>下面的<资料|内容|材料>回答。\n{passages}",
    "<阅读|请看|先读>：\n{passages}\n\n<请告诉我|请问|然后回答>：{question}",
    "<按照|根据>下面的<来源|资料|材料>，{question}\n{passages}",
    "<已知信息|已知内容|我们的资料|我们的信息|参考信息|参考资料>如下<。|：>\n{passages}\n{question}",
    "<请|回答请|请回答并><标注|注明|给出><来源|出处>。{question}\n\n{passages}",
];
