//! The things that passages tell of, what is told of them, and how it is asked for.

use super::{Attribute, Kind};
use crate::grammar::Writer;
use crate::words;

fn number_of(w: &mut Writer, zh: &str, en: &str) -> String {
    let n = words::quantity(w);
    w.language().pick(format!("{n}{zh}"), format!("{n} {en}"))
}

fn money(w: &mut Writer) -> String {
    number_of(w, "元", "euros")
}

fn year(w: &mut Writer) -> String {
    let n = w.number(1890, 2025);
    w.language().pick(format!("{n}年"), n.to_string())
}

fn phone(w: &mut Writer) -> String {
    format!("{}-{:04}", w.number(200, 999), w.number(0, 9999))
}

fn address(w: &mut Writer) -> String {
    let street = words::brand(w);
    let n = w.number(1, 199);
    let lane = w.below(3);
    w.language().pick(
        format!("{street}{}{n}号", ["路", "街", "巷"][lane]),
        format!("{n} {street} {}", ["Street", "Road", "Lane"][lane]),
    )
}

fn room(w: &mut Writer) -> String {
    let n = w.number(101, 989);
    w.language().pick(format!("{n}室"), format!("room {n}"))
}

fn department(w: &mut Writer) -> String {
    const ZH: &[&str] =
        &["市场部", "财务部", "研发部", "人事部", "法务部", "采购部", "客服部", "销售部", "设计部", "生产部"];
    const EN: &[&str] = &[
        "marketing",
        "finance",
        "research",
        "sales",
        "legal",
        "purchasing",
        "support",
        "design",
        "logistics",
        "security",
    ];
    let list = w.language().pick(ZH, EN);
    w.one(list).to_owned()
}

fn months(w: &mut Writer) -> String {
    let n = w.number(3, 60);
    w.language().pick(format!("{n}个月"), format!("{n} months"))
}

fn colour(w: &mut Writer) -> String {
    const ZH: &[&str] = &["红色", "蓝色", "白色", "黑色", "绿色", "灰色", "银色", "橙色", "紫色", "黄色"];
    const EN: &[&str] =
        &["red", "blue", "white", "black", "green", "grey", "silver", "orange", "purple", "yellow"];
    let list = w.language().pick(ZH, EN);
    w.one(list).to_owned()
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        zh: &["图书馆", "博物馆", "美术馆", "体育馆", "公园", "书店", "餐厅", "诊所", "剧院", "酒店"],
        en: &[
            "Library",
            "Museum",
            "Gallery",
            "Gym",
            "Park",
            "Bookshop",
            "Restaurant",
            "Clinic",
            "Theatre",
            "Hotel",
        ],
        attributes: &[
            Attribute {
                zh: "开门时间",
                en: "opening time",
                value: words::clock,
                facts_zh: &[
                    "{x}<每天|平时|>{v}<开门|开始营业|开放>。",
                    "{x}的<开门|营业|开放>时间是{v}。",
                    "<从|每天从>{v}起，{x}<开门|营业|对外开放>。",
                    "{x}{v}<前不开门|以后才开门>。",
                ],
                facts_en: &[
                    "{x} <opens|starts|opens its doors> at {v}<| every day| daily>.",
                    "{x} is open from {v}<| on|, every day>.",
                    "<From {v} on|Every day from {v}>, {x} <is open|welcomes visitors>.",
                    "Opening <time|hours> of {x}: <from |>{v}.",
                ],
                ask_zh: &[
                    "{x}<几点|什么时候|什么时间><开门|开始营业|开放>？",
                    "{x}的<开门|营业|开放>时间<是什么|是几点|>？",
                    "{x}<从几点|几点起>开门？",
                ],
                ask_en: &[
                    "<When|At what time|What time> does {x} open?",
                    "<Since when|From when|From what time> is {x} open?",
                    "<What is the |>opening <time|hours> of {x}?",
                    "How early does {x} open?",
                ],
            },
            Attribute {
                zh: "地址",
                en: "address",
                value: address,
                facts_zh: &[
                    "{x}<在|位于|坐落于|就在>{v}。",
                    "{x}的<地址|位置>是{v}。",
                    "<要去|去|找>{x}，<请到|就到>{v}。",
                    "{v}<就是|有>{x}。",
                ],
                facts_en: &[
                    "{x} <is|is located|stands|can be found> at {v}.",
                    "The address of {x} is {v}.",
                    "You <find|reach> {x} at {v}.",
                    "Address of {x}: {v}.",
                    "At {v} <there is|you find> {x}.",
                ],
                ask_zh: &[
                    "{x}<在哪里|在哪儿|在什么地方|位于哪里|位于何处>？",
                    "{x}的<地址|位置><是什么|在哪里|是哪里|>？",
                    "<怎么找到|去哪里找>{x}？",
                ],
                ask_en: &[
                    "Where <is|can I find|do I find> {x}?",
                    "<What is the |>address of {x}?",
                    "Where is {x} located?",
                    "At <what|which> address is {x}?",
                ],
            },
            Attribute {
                zh: "电话",
                en: "phone number",
                value: phone,
                facts_zh: &[
                    "{x}的<电话|电话号码|号码>是{v}。",
                    "<联系|咨询|找>{x}请<打|拨打|拨>{v}。",
                    "{x}电话：{v}。",
                    "<打|拨打>{v}<可以找到|就是|联系>{x}。",
                ],
                facts_en: &[
                    "The phone number of {x} is {v}.",
                    "<Call|Ring|Phone> {x} <at|on> {v}.",
                    "{x} can be <reached|called> <at|on> {v}.",
                    "Phone<| number> of {x}: {v}.",
                ],
                ask_zh: &[
                    "{x}的<电话|号码|电话号码|联系电话><是多少|是什么|>？",
                    "<怎么|如何>打电话给{x}？",
                    "<联系|咨询>{x}<打|拨>哪个<号码|电话>？",
                ],
                ask_en: &[
                    "<What is the |><phone|telephone> number of {x}?",
                    "How <can|do> I <call|phone|ring> {x}?",
                    "<Which|What> number <reaches|do I dial for|do I call for> {x}?",
                ],
            },
            Attribute {
                zh: "门票价格",
                en: "ticket price",
                value: money,
                facts_zh: &[
                    "{x}的<门票|票>是{v}。",
                    "<进|参观|去>{x}要<花|付>{v}。",
                    "{x}<票价|门票价格|门票>{v}。",
                    "一张{x}的<门票|票><卖|要>{v}。",
                ],
                facts_en: &[
                    "A ticket for {x} <costs|is> {v}.",
                    "{x} <charges|asks> {v} for <entry|a ticket>.",
                    "Entry to {x} <is|costs> {v}.",
                    "The ticket price of {x} is {v}.",
                ],
                ask_zh: &[
                    "{x}的<门票|票>多少钱？",
                    "<进|参观|去>{x}<要|得花>多少钱？",
                    "{x}<票价|门票价格|门票>是多少？",
                    "{x}一张<票|门票>多少钱？",
                ],
                ask_en: &[
                    "How much is <a ticket for|entry to> {x}?",
                    "What does <a ticket for|entry to> {x} cost?",
                    "<What is the |>ticket price of {x}?",
                    "How much does {x} <charge|ask> for <entry|a ticket>?",
                ],
            },
            Attribute {
                zh: "建成年份",
                en: "founding year",
                value: year,
                facts_zh: &[
                    "{x}<建于|建成于|成立于>{v}。",
                    "{x}<是|在>{v}<建成|建的|成立|落成>。",
                    "{v}，{x}<建成|落成|成立>。",
                    "{x}<始建于|自>{v}<|以来就有>。",
                ],
                facts_en: &[
                    "{x} was <founded|built|opened> in {v}.",
                    "In {v}, {x} was <founded|built>.",
                    "{x} <dates from|has existed since> {v}.",
                    "The founding year of {x} is {v}.",
                ],
                ask_zh: &[
                    "{x}<是哪年|是哪一年|什么时候|哪年><建成|建的|成立>？",
                    "{x}<建于|成立于>哪<一年|年>？",
                    "{x}的<建成|成立>年份<是哪年|>？",
                ],
                ask_en: &[
                    "<When|In which year|In what year> was {x} <founded|built>?",
                    "<What is the |>founding year of {x}?",
                    "Since when does {x} exist?",
                ],
            },
            Attribute {
                zh: "负责人",
                en: "manager",
                value: words::person,
                facts_zh: &[
                    "{x}<由|归>{v}<负责|管理>。",
                    "{x}的<负责人|主管|经理>是{v}。",
                    "{v}<管理|负责|主管>{x}。",
                    "<管理|负责|主管>{x}的是{v}。",
                ],
                facts_en: &[
                    "{v} <manages|runs|leads> {x}.",
                    "{x} is <managed|run|led> by {v}.",
                    "The <manager|head> of {x} is {v}.",
                    "<In charge of|Responsible for> {x} is {v}.",
                ],
                ask_zh: &[
                    "{x}<由|归>谁<负责|管理>？",
                    "谁<管理|负责|主管>{x}？",
                    "{x}的<负责人|主管|经理>是<谁|哪位>？",
                ],
                ask_en: &[
                    "Who <manages|runs|leads> {x}?",
                    "Who is the <manager|head> of {x}?",
                    "By whom is {x} <managed|run|led>?",
                    "Who is <in charge of|responsible for> {x}?",
                ],
            },
        ],
    },
    Kind {
        zh: &[],
        en: &[],
        attributes: &[
            Attribute {
                zh: "办公室",
                en: "office",
                value: room,
                facts_zh: &[
                    "{x}在{v}<办公|上班>。",
                    "{x}的<办公室|房间>是{v}。",
                    "<找|见>{x}请<到|去>{v}。",
                    "{v}是{x}的<办公室|房间>。",
                ],
                facts_en: &[
                    "{x} <works|sits> in {v}.",
                    "The office of {x} is {v}.",
                    "You <find|meet> {x} in {v}.",
                    "{x} has <moved to|an office in> {v}.",
                ],
                ask_zh: &[
                    "{x}的<办公室|房间><在哪|是哪间|在哪里>？",
                    "<去|到>哪里<找|见>{x}？",
                    "{x}在<哪个房间|哪间办公室|哪里><办公|上班>？",
                ],
                ask_en: &[
                    "Where is the office of {x}?",
                    "In <which|what> <room|office> does {x} <work|sit>?",
                    "Where does {x} <work|sit>?",
                    "Where <do|can> I <find|meet> {x}?",
                ],
            },
            Attribute {
                zh: "部门",
                en: "department",
                value: department,
                facts_zh: &[
                    "{x}<属于|在>{v}<|工作>。",
                    "{x}是{v}的<员工|同事>。",
                    "{v}有<一位|个>同事叫{x}。",
                    "{x}<的部门是|去年调到了|去年加入>{v}。",
                ],
                facts_en: &[
                    "{x} <belongs to|works for|is part of> the {v} department.",
                    "{x} <joined|moved to> the {v} department<| last year>.",
                    "The department of {x} is {v}.",
                    "{x} is in the {v} department.",
                ],
                ask_zh: &[
                    "{x}<在|属于|是>哪个部门<|的>？",
                    "{x}的部门<是什么|是哪个|>？",
                    "{x}在<什么|哪个>部门工作？",
                ],
                ask_en: &[
                    "<Which|What> department <is {x} in|does {x} belong to|does {x} work for>?",
                    "<What is the |>department of {x}?",
                    "In <which|what> department is {x}?",
                ],
            },
            Attribute {
                zh: "电话",
                en: "phone number",
                value: phone,
                facts_zh: &[
                    "{x}的<电话|电话号码|号码|分机>是{v}。",
                    "<联系|找>{x}请<打|拨打|拨>{v}。",
                    "{x}电话：{v}。",
                    "<打|拨打>{v}<可以找到|就是|联系>{x}。",
                ],
                facts_en: &[
                    "The phone number of {x} is {v}.",
                    "<Call|Ring|Phone> {x} <at|on> {v}.",
                    "{x} can be <reached|called> <at|on> {v}.",
                    "Phone<| number> of {x}: {v}.",
                ],
                ask_zh: &[
                    "{x}的<电话|号码|电话号码|联系电话><是多少|是什么|>？",
                    "<怎么|如何>打电话给{x}？",
                    "<联系|找>{x}<打|拨>哪个<号码|电话>？",
                ],
                ask_en: &[
                    "<What is the |><phone|telephone> number of {x}?",
                    "How <can|do> I <call|phone|ring> {x}?",
                    "<Which|What> number <reaches|do I dial for|do I call for> {x}?",
                ],
            },
            Attribute {
                zh: "入职年份",
                en: "starting year",
                value: year,
                facts_zh: &[
                    "{x}{v}<入职|来公司|加入公司>。",
                    "{x}<从|自>{v}<开始在这里工作|起在公司工作>。",
                    "{v}，{x}<加入公司|入职>。",
                    "{x}的入职<时间|年份>是{v}。",
                ],
                facts_en: &[
                    "{x} <started|joined the company|was hired> in {v}.",
                    "{x} has worked here since {v}.",
                    "In {v}, {x} <joined|was hired|started>.",
                    "The starting year of {x} is {v}.",
                ],
                ask_zh: &[
                    "{x}<是哪年|哪年|什么时候|哪一年><入职|加入公司|来公司>的？",
                    "{x}的入职<年份|时间><是哪年|>？",
                    "{x}从哪年开始<工作|在这里工作>？",
                ],
                ask_en: &[
                    "<When|In which year|In what year> <did {x} start|did {x} join|was {x} hired>?",
                    "Since when <does {x} work|has {x} worked> here?",
                    "<What is the |>starting year of {x}?",
                ],
            },
            Attribute {
                zh: "上级",
                en: "boss",
                value: words::person,
                facts_zh: &[
                    "{x}的<上级|领导|上司>是{v}。",
                    "{x}向{v}汇报。",
                    "{v}是{x}的<领导|上级|上司>。",
                    "{x}<归|由>{v}<领导|管>。",
                ],
                facts_en: &[
                    "{x} <reports to|works under> {v}.",
                    "The <boss|supervisor> of {x} is {v}.",
                    "{v} is the <boss|supervisor> of {x}.",
                    "{x} is <supervised|led> by {v}.",
                ],
                ask_zh: &[
                    "{x}的<上级|领导|上司>是<谁|哪位>？",
                    "{x}向<谁|哪位>汇报？",
                    "谁是{x}的<领导|上级|上司>？",
                    "{x}<归|由>谁<领导|管>？",
                ],
                ask_en: &[
                    "Who is the <boss|supervisor> of {x}?",
                    "<To whom|Who> does {x} report<| to>?",
                    "Who <supervises|leads> {x}?",
                    "Under whom does {x} work?",
                ],
            },
            Attribute {
                zh: "家乡",
                en: "home town",
                value: words::city,
                facts_zh: &[
                    "{x}是{v}人。",
                    "{x}<来自|出生在|生在>{v}。",
                    "{x}的<家乡|老家><是|在>{v}。",
                    "{x}<在|从小在>{v}<出生|长大>。",
                ],
                facts_en: &[
                    "{x} <comes from|is from|was born in|grew up in> {v}.",
                    "The home town of {x} is {v}.",
                    "{v} is the home town of {x}.",
                ],
                ask_zh: &[
                    "{x}是<哪里|哪儿|什么地方>人？",
                    "{x}<来自|出生在>哪里？",
                    "{x}的<家乡|老家>是<哪里|哪儿>？",
                    "{x}在<哪里|哪儿><出生|长大>？",
                ],
                ask_en: &[
                    "Where <does {x} come from|is {x} from|was {x} born|did {x} grow up>?",
                    "<What is the |>home town of {x}?",
                    "From which town <is {x}|does {x} come>?",
                ],
            },
        ],
    },
    Kind {
        zh: &["手机", "水壶", "背包", "耳机", "台灯", "音箱", "打印机", "手表", "相机", "风扇"],
        en: &[
            "phone", "kettle", "backpack", "headset", "lamp", "speaker", "printer", "watch", "camera", "fan",
        ],
        attributes: &[
            Attribute {
                zh: "价格",
                en: "price",
                value: money,
                facts_zh: &[
                    "{x}<售价|卖|标价|现价>{v}。",
                    "{x}的<价格|售价>是{v}。",
                    "买{x}要<花|付>{v}。",
                    "{v}<就能买到|可以买>{x}。",
                ],
                facts_en: &[
                    "The {x} <costs|sells at|is sold for> {v}.",
                    "The price of the {x} is {v}.",
                    "You get the {x} for {v}.",
                    "For {v} <you get|we sell> the {x}.",
                ],
                ask_zh: &[
                    "{x}<多少钱|卖多少钱|要多少钱>？",
                    "{x}的<价格|售价><是多少|>？",
                    "买{x}要<花|付>多少钱？",
                ],
                ask_en: &[
                    "How much is the {x}?",
                    "What does the {x} cost?",
                    "<What is the |>price of the {x}?",
                    "For how much is the {x} sold?",
                ],
            },
            Attribute {
                zh: "保修期",
                en: "warranty",
                value: months,
                facts_zh: &[
                    "{x}<保修|质保>{v}。",
                    "{x}的<保修期|质保期>是{v}。",
                    "{x}<享受|提供>{v}<质保|保修>。",
                    "{x}{v}内<免费维修|保修>。",
                ],
                facts_en: &[
                    "The {x} <has|comes with> a warranty of {v}.",
                    "The warranty of the {x} <is|lasts> {v}.",
                    "The {x} is <covered|under warranty> for {v}.",
                    "Warranty of the {x}: {v}.",
                ],
                ask_zh: &[
                    "{x}<保修|质保><多久|多长时间|几个月>？",
                    "{x}的<保修期|质保期><是多久|多长|>？",
                    "{x}能<保修|质保>多久？",
                ],
                ask_en: &[
                    "How long is the <warranty of the {x}|{x} covered|{x} under warranty>?",
                    "What warranty does the {x} <have|come with>?",
                    "<What is the |>warranty of the {x}?",
                ],
            },
            Attribute {
                zh: "颜色",
                en: "colour",
                value: colour,
                facts_zh: &[
                    "{x}是{v}的。",
                    "{x}的<颜色|外壳>是{v}。",
                    "{x}<只有|采用|有>{v}<|外壳>。",
                    "{v}的{x}<|卖得很好>。",
                ],
                facts_en: &[
                    "The {x} is {v}.",
                    "The colour of the {x} is {v}.",
                    "The {x} <comes|is sold> in {v}.",
                    "The {x} has a {v} <case|colour>.",
                ],
                ask_zh: &[
                    "{x}是什么颜色<|的>？",
                    "{x}<有|的>什么颜色？",
                    "{x}的颜色<是什么|>？",
                    "{x}的外壳是什么颜色？",
                ],
                ask_en: &[
                    "<What|Which> colour <is|has> the {x}?",
                    "<What is the |>colour of the {x}?",
                    "In <what|which> colour <is the {x} sold|does the {x} come>?",
                ],
            },
            Attribute {
                zh: "产地",
                en: "place of origin",
                value: words::city,
                facts_zh: &[
                    "{x}<产自|来自|产于>{v}。",
                    "{x}在{v}<生产|制造>。",
                    "{x}的产地是{v}。",
                    "{v}<生产|制造>{x}。",
                ],
                facts_en: &[
                    "The {x} is <made|produced> in {v}.",
                    "The {x} comes from {v}.",
                    "The place of origin of the {x} is {v}.",
                    "{v} <makes|produces> the {x}.",
                ],
                ask_zh: &[
                    "{x}<产自|来自|产于>哪里？",
                    "{x}在<哪里|哪儿><生产|制造>？",
                    "{x}的产地<是哪里|在哪|>？",
                    "哪里<生产|制造>{x}？",
                ],
                ask_en: &[
                    "Where <is the {x} made|is the {x} produced|does the {x} come from>?",
                    "<What is the |>place of origin of the {x}?",
                    "<Which|What> city <makes|produces> the {x}?",
                ],
            },
            Attribute {
                zh: "重量",
                en: "weight",
                value: |w| number_of(w, "克", "grams"),
                facts_zh: &[
                    "{x}<重|净重|只重>{v}。",
                    "{x}的<重量|净重>是{v}。",
                    "{x}<有|只有>{v}重。",
                    "称<一称|一下>，{x}<是|重>{v}。",
                ],
                facts_en: &[
                    "The {x} weighs<| only> {v}.",
                    "The weight of the {x} is {v}.",
                    "The {x} has a weight of {v}.",
                    "At {v}, the {x} is <light|not heavy>.",
                ],
                ask_zh: &["{x}<有多重|重多少|多重>？", "{x}的<重量|净重><是多少|>？", "{x}<有|重>多少克？"],
                ask_en: &[
                    "How heavy is the {x}?",
                    "<What|How much> does the {x} weigh?",
                    "<What is the |>weight of the {x}?",
                    "What weight does the {x} have?",
                ],
            },
            Attribute {
                zh: "库存",
                en: "stock",
                value: |w| number_of(w, "件", "pieces"),
                facts_zh: &[
                    "{x}<还有|还剩|剩>{v}。",
                    "{x}的库存<是|有>{v}。",
                    "<仓库里|库里>有{v}{x}。",
                    "{x}<备货|库存>{v}。",
                ],
                facts_en: &[
                    "There are {v} of the {x} <left|in stock>.",
                    "The stock of the {x} is {v}.",
                    "<We have|The warehouse holds> {v} of the {x}.",
                    "Of the {x}, {v} <remain|are left>.",
                ],
                ask_zh: &[
                    "{x}<还有|还剩|剩><多少|几件|多少件>？",
                    "{x}的库存<是多少|有多少|>？",
                    "<仓库里|库里><有多少|有几件>{x}？",
                ],
                ask_en: &[
                    "How many of the {x} <are left|do we have|are in stock|remain>?",
                    "<What is the |>stock of the {x}?",
                    "How <much|many> of the {x} <is|are> in the warehouse?",
                ],
            },
        ],
    },
    Kind {
        zh: &["项目", "计划", "工程", "活动", "课程", "展览"],
        en: &["project", "programme", "campaign", "course", "exhibition", "workshop"],
        attributes: &[
            Attribute {
                zh: "预算",
                en: "budget",
                value: money,
                facts_zh: &[
                    "{x}的<预算|经费>是{v}。",
                    "{x}<批了|拨了|预计投入>{v}。",
                    "给{x}的<经费|预算>为{v}。",
                    "{x}<可以花|能花>{v}。",
                ],
                facts_en: &[
                    "The {x} has a budget of {v}.",
                    "The budget of the {x} is {v}.",
                    "The {x} <may|can> spend {v}.",
                    "The {x} is <funded with|given> {v}.",
                ],
                ask_zh: &[
                    "{x}的<预算|经费><是多少|有多少|>？",
                    "{x}<有多少|批了多少><经费|预算|钱>？",
                    "{x}<可以|能>花多少钱？",
                ],
                ask_en: &[
                    "<What is the |>budget of the {x}?",
                    "How much <may|can> the {x} spend?",
                    "How much money <does the {x} have|is the {x} given>?",
                    "What budget does the {x} have?",
                ],
            },
            Attribute {
                zh: "负责人",
                en: "leader",
                value: words::person,
                facts_zh: &[
                    "{x}<由|归>{v}<负责|带领|主持>。",
                    "{x}的<负责人|主持人>是{v}。",
                    "{v}<带领|负责|主持>{x}。",
                    "<带领|负责|主持>{x}的是{v}。",
                ],
                facts_en: &[
                    "{v} <leads|runs|heads> the {x}.",
                    "The <leader|head> of the {x} is {v}.",
                    "The {x} is <run|led|headed> by {v}.",
                    "{v} is responsible for the {x}.",
                ],
                ask_zh: &[
                    "{x}<由|归>谁<负责|带领|主持>？",
                    "谁<负责|带领|主持>{x}？",
                    "{x}的<负责人|主持人>是<谁|哪位>？",
                ],
                ask_en: &[
                    "Who <leads|runs|heads> the {x}?",
                    "Who is the <leader|head> of the {x}?",
                    "By whom is the {x} <run|led|headed>?",
                    "Who is responsible for the {x}?",
                ],
            },
            Attribute {
                zh: "开始日期",
                en: "start date",
                value: words::iso_date,
                facts_zh: &[
                    "{x}<从|于|在>{v}<开始|启动>。",
                    "{x}{v}<启动|开始|开幕>。",
                    "{x}的<开始|启动>日期是{v}。",
                    "{v}，{x}<正式开始|启动>。",
                ],
                facts_en: &[
                    "The {x} <starts|begins> on {v}.",
                    "The start<| date> of the {x} is {v}.",
                    "On {v}, the {x} <begins|starts>.",
                    "The {x} <is set|is going> to <start|begin> on {v}.",
                ],
                ask_zh: &[
                    "{x}<什么时候|哪天|何时|几号><开始|启动>？",
                    "{x}的<开始|启动>日期<是哪天|是几号|>？",
                ],
                ask_en: &[
                    "<When|On which day|On what date> does the {x} <start|begin>?",
                    "<What is the |>start date of the {x}?",
                    "When is the {x} going to <start|begin>?",
                ],
            },
            Attribute {
                zh: "地点",
                en: "venue",
                value: words::city,
                facts_zh: &[
                    "{x}在{v}<举行|举办>。",
                    "{x}的<地点|举办地>是{v}。",
                    "{x}<设在|定在>{v}。",
                    "<参加|去>{x}要<去|到>{v}。",
                ],
                facts_en: &[
                    "The {x} <takes place|is held|is> in {v}.",
                    "The <venue|place> of the {x} is {v}.",
                    "For the {x} you <go|travel> to {v}.",
                    "{v} hosts the {x}.",
                ],
                ask_zh: &[
                    "{x}在<哪里|哪儿|什么地方><举行|举办>？",
                    "{x}的<地点|举办地><是哪里|在哪|>？",
                    "<参加|去>{x}<去|到>哪里？",
                ],
                ask_en: &[
                    "Where <does the {x} take place|is the {x} held|is the {x}>?",
                    "<What is the |><venue|place> of the {x}?",
                    "Where do I <go|travel> for the {x}?",
                    "Which city hosts the {x}?",
                ],
            },
            Attribute {
                zh: "人数",
                en: "number of participants",
                value: |w| number_of(w, "人", "people"),
                facts_zh: &[
                    "{x}<有|共有|共>{v}<参加|>。",
                    "参加{x}的<有|共>{v}。",
                    "{x}的<人数|参加人数>是{v}。",
                    "{v}<报名|参加>了{x}。",
                ],
                facts_en: &[
                    "The {x} <has|counts> {v}.",
                    "In the {x}, {v} take part.",
                    "{v} <signed up for|joined|take part in> the {x}.",
                    "The number of participants of the {x} is {v}.",
                ],
                ask_zh: &[
                    "{x}有多少人<|参加>？",
                    "多少人<报名|参加>{x}？",
                    "{x}的<人数|参加人数><是多少|>？",
                ],
                ask_en: &[
                    "How many <people are in|take part in|signed up for|joined> the {x}?",
                    "<What is the |>number of participants of the {x}?",
                    "How many people <take part in|joined> the {x}?",
                ],
            },
        ],
    },
];

// What tells nothing: `{p}` is a person, `{n}` a number. The kinds have about as many forms each, since forms are drawn alike.
pub(super) const FILLERS_EN: &[&str] = &[
    "Please <keep the doors closed|be quiet|wait in line|bring your papers|book early|take no pictures|be on time><| here|, thank you>.",
    "<This page|This text|The table|The list> was <updated|checked|published> <last week|yesterday|this month>.",
    "Thank you for <reading|your visit|your help|your patience|your interest|your letters><|, everyone| and see you soon>.",
    "More <news|details|dates|pictures> will <follow|be announced|be given> <soon|later|next month>.",
    "All <figures|pictures|texts> are <without guarantee|subject to change|given as they are|for information only>.",
    "<Visitors|Guests|Questions|New ideas|Groups> are <welcome|always welcome|welcome every day|very welcome>.",
    "<Questions|Letters|Complaints|Forms> go to the <front desk|information desk|help desk|main office|counter>.",
    "<This page|The text|The list> was <written|checked|translated> by {p}<| last week>.",
    "{p} <thanks|greets|wrote to> <all readers|all visitors|the team|everyone>.",
    "<The weather|Traffic|The mood> <was|is|stays> <good|calm|as usual> <today|this week>.",
    "Page {n}<|, second part|, continued>.",
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
    "第{n}页<|，下半部分|，接上页>。",
    "<目前|本周|上月><已有|共有>{n}<位读者|封来信|次浏览>。",
    "<咖啡|茶水|报纸><免费|人人有份|在服务台领取><|，照例如此>。",
];
pub(super) const PROMPTS_EN: &[&str] = &[
    "{passages}\n\n<Question: |Q: |>{question}",
    "<Passages|Sources|Documents|Context|Text>:\n{passages}\n\n<Question: |Now: |>{question}",
    "<Answer|Reply> <from|with|by> the <passages|sources|text> and cite them.\n{passages}\n<|\n>{question}",
    "{question}\n\n<Passages|Sources|Documents|Context>:\n{passages}",
    "Use only <these|the following> <passages|sources|documents>:\n{passages}\n\n{question}",
    "{question} <Answer|Reply> with a citation from <these|the> <passages|sources>.\n{passages}",
    "<Read|Look at> <this|these passages|the sources>:\n{passages}\n\n<Now tell me|Question|Then answer>: {question}",
    "<According to|From|Based on> the <sources|passages|documents> below: {question}\n{passages}",
    "<Here is what we know|This is known|These are our documents>.\n{passages}\n{question}",
    "<Cite your source|Give the source|With source, please>. {question}\n\n{passages}",
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
    "<已知信息|已知内容|我们的资料>如下。\n{passages}\n{question}",
    "请<标注|注明|给出><来源|出处>。{question}\n\n{passages}",
];
