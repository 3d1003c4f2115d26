//! The tools, and how they are asked for.

use super::{Family, Parameter, Values};
use crate::grammar::Writer;
use crate::words;

fn degrees(w: &mut Writer) -> String {
    w.number(1, 38).to_string()
}

fn sky(w: &mut Writer) -> String {
    let list: &[&str] = w.language().pick(
        &["晴", "多云", "小雨", "大雨", "阴", "下雪", "有雾", "大风"],
        &["sunny", "cloudy", "light rain", "heavy rain", "snow", "fog", "windy", "clear"],
    );
    w.one(list).to_owned()
}

fn figure(w: &mut Writer) -> String {
    format!("{}.{}", w.number(1, 900), w.number(1, 99))
}

fn count(w: &mut Writer) -> String {
    w.number(1, 400).to_string()
}

fn thing(w: &mut Writer) -> String {
    let brand = words::brand(w);
    let list: &[&str] = w.language().pick(
        &["水壶", "台灯", "耳机", "键盘", "雨伞", "背包", "毛巾", "风扇"],
        &["kettle", "lamp", "headset", "keyboard", "umbrella", "backpack", "towel", "fan"],
    );
    let noun = w.one(list);
    w.language().pick(format!("{brand}{noun}"), format!("{brand} {noun}"))
}

fn errand(w: &mut Writer) -> String {
    let who = words::person(w);
    w.language().pick(
        w.write(
            "<给{who}打电话|跟{who}开会|接{who}|给{who}回邮件|请{who}签字|跟{who}吃饭>",
            &[("who", &who)],
        ),
        w.write(
            "<call {who}|meet {who}|pick up {who}|write to {who}|pay {who}|visit {who}>",
            &[("who", &who)],
        ),
    )
}

fn subject(w: &mut Writer) -> String {
    let brand = words::brand(w);
    w.language().pick(
        w.write("{b}<报价|合同|会议纪要|发货通知|面试安排|付款提醒>", &[("b", &brand)]),
        w.write("{b} <offer|contract|minutes|delivery|interview|payment>", &[("b", &brand)]),
    )
}

fn word(w: &mut Writer) -> String {
    w.language().pick(words::brand(w), words::made_up(w).to_lowercase())
}

const CURRENCIES: &[(&str, &str)] = &[
    ("USD", "USD"),
    ("EUR", "EUR"),
    ("CNY", "CNY"),
    ("JPY", "JPY"),
    ("GBP", "GBP"),
    ("CHF", "CHF"),
    ("HKD", "HKD"),
];
const LANGUAGES: &[(&str, &str)] = &[
    ("English", "英语"),
    ("Chinese", "中文"),
    ("French", "法语"),
    ("German", "德语"),
    ("Japanese", "日语"),
    ("Spanish", "西班牙语"),
];
const CUISINES: &[(&str, &str)] = &[
    ("Chinese", "中餐"),
    ("Italian", "意大利菜"),
    ("Japanese", "日本菜"),
    ("Indian", "印度菜"),
    ("French", "法国菜"),
    ("Thai", "泰国菜"),
];
const ROOMS: &[(&str, &str)] = &[
    ("kitchen", "厨房"),
    ("bedroom", "卧室"),
    ("office", "书房"),
    ("living room", "客厅"),
    ("bathroom", "浴室"),
    ("hall", "走廊"),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        names: &["get_weather", "weather", "query_weather", "weather_forecast", "check_weather"],
        zh: &["查询天气", "获取城市天气", "天气预报"],
        en: &["Get the weather", "Weather of a city", "Look up the forecast"],
        parameters: &[
            Parameter {
                names: &["city", "location", "place"],
                values: Values::Text(words::city),
                zh: "城市",
                en: "the city",
            },
            Parameter {
                names: &["date", "day", "when"],
                values: Values::Text(words::due),
                zh: "日期",
                en: "the day",
            },
        ],
        ask_zh: &[
            "{a}{b}<天气|的天气><怎么样|如何|好吗>？",
            "{b}{a}<会下雨吗|天气如何|天气好吗|天气怎么样>？",
            "<查一下|看看|查查|查>{a}{b}的<天气|天气预报>。",
            "{b}<去|要去|到>{a}，<天气|那里天气><如何|怎么样|好吗>？",
        ],
        ask_en: &[
            "What is the weather <like |>in {a} <on |>{b}?",
            "Will it <rain|snow|be warm> in {a} <on |>{b}?",
            "<Check|Look up|Get> the <weather|forecast> <in|for> {a}<,| for| on> {b}.",
            "<Weather|Forecast> <for|on> {b} in {a}<?|, please.>",
            "How is the weather in {a}<,| on> {b}?",
        ],
        results: &[("temperature", degrees), ("sky", sky)],
        answer_zh: "{a}{b}{s}，{r}度。",
        answer_en: "In {a}, {b}: {s}, {r} degrees.",
    },
    Family {
        names: &["convert_currency", "exchange", "currency", "convert_money", "exchange_rate"],
        zh: &["换算货币", "货币兑换", "按汇率换算"],
        en: &["Convert money", "Exchange currencies", "Convert an amount of money"],
        parameters: &[
            Parameter {
                names: &["amount", "value"],
                values: Values::Integer(2, 9000),
                zh: "金额",
                en: "how much",
            },
            Parameter {
                names: &["from", "from_currency", "source"],
                values: Values::Choice(CURRENCIES),
                zh: "原货币",
                en: "from which currency",
            },
            Parameter {
                names: &["to", "to_currency", "target"],
                values: Values::Choice(CURRENCIES),
                zh: "目标货币",
                en: "to which currency",
            },
        ],
        ask_zh: &[
            "{a}{b}<等于|是|合|能换>多少{c}？",
            "<把|请把|帮我把>{a}{b}<换成|换算成|兑成>{c}。",
            "<帮我算|算一下|查一下>{a}{b}<合|等于|是>多少{c}。",
        ],
        ask_en: &[
            "How much <is|are> {a} {b} in {c}?",
            "<Convert|Change|Exchange> {a} {b} <to|into> {c}<|, please>.",
            "What <is|are> {a} {b} worth in {c}?",
            "{a} {b} <to|in> {c}<, please.|?>",
        ],
        results: &[("result", figure)],
        answer_zh: "{a} {b}等于{r} {c}。",
        answer_en: "{a} {b} are {r} {c}.",
    },
    Family {
        names: &["set_timer", "timer", "start_timer", "countdown"],
        zh: &["设置计时器", "开始倒计时", "计时"],
        en: &["Set a timer", "Start a countdown", "Timer in minutes"],
        parameters: &[Parameter {
            names: &["minutes", "duration", "length"],
            values: Values::Integer(1, 120),
            zh: "分钟数",
            en: "minutes",
        }],
        ask_zh: &[
            "<定|设|开>一个{a}分钟的<计时器|倒计时>。",
            "{a}分钟后<叫我|提醒我>。",
            "<帮我|请|><倒计时|计时|设|定>{a}分钟。",
        ],
        ask_en: &[
            "<Set|Start|Give me> a <timer|countdown> <for|of> {a} minutes.",
            "<Wake|Call|Tell> me in {a} minutes.",
            "<Count down|Timer:|Countdown:> {a} minutes.",
        ],
        results: &[("ends_at", words::clock)],
        answer_zh: "计时器已设好，{r}结束。",
        answer_en: "The timer is set and ends at {r}.",
    },
    Family {
        names: &["create_reminder", "remind", "add_reminder", "set_reminder", "reminder"],
        zh: &["创建提醒", "添加提醒", "提醒我做某事"],
        en: &["Create a reminder", "Remind the user", "Add a reminder"],
        parameters: &[
            Parameter {
                names: &["text", "content", "what"],
                values: Values::Text(errand),
                zh: "内容",
                en: "what to do",
            },
            Parameter {
                names: &["time", "when", "due"],
                values: Values::Text(words::due),
                zh: "时间",
                en: "when",
            },
        ],
        ask_zh: &[
            "<提醒我|记得提醒我>{b}{a}。",
            "{b}<记得叫我|叫我|提醒我>{a}。",
            "{b}要{a}，<提醒我一下|记得提醒我|加个提醒>。",
            "<加个提醒|新提醒|提醒>：{b}{a}。",
        ],
        ask_en: &[
            "Remind me to {a}<,| on| at> {b}.",
            "<Add|Set|Create> a reminder for {b}: {a}.",
            "<Don't let me forget|Help me remember> to {a} ({b}).",
            "<Reminder|New reminder> for {b}: {a}<.|>",
            "I <need|have|want> to {a}<,| on> {b}. <Remind me.|Please remind me.>",
        ],
        results: &[("id", words::code)],
        answer_zh: "提醒{r}已创建：{b}{a}。",
        answer_en: "Reminder {r} is set: {a}, {b}.",
    },
    Family {
        names: &["send_email", "email", "write_mail", "send_mail"],
        zh: &["发送邮件", "给某人发邮件", "写邮件"],
        en: &["Send an email", "Write a mail to somebody", "Send mail"],
        parameters: &[
            Parameter {
                names: &["to", "recipient", "receiver"],
                values: Values::Text(words::person),
                zh: "收件人",
                en: "who gets it",
            },
            Parameter {
                names: &["subject", "title", "topic"],
                values: Values::Text(subject),
                zh: "主题",
                en: "its subject",
            },
        ],
        ask_zh: &[
            "<给|替我给|请给>{a}发<邮件|一封邮件>，<主题是|主题|标题|标题是>{b}。",
            "发<邮件|一封邮件>给{a}，<主题是|主题|标题|标题是>{b}。",
            "<邮件给|发邮件给>{a}：{b}。",
        ],
        ask_en: &[
            "<Send|Write> {a} <an email|a mail|a message> about {b}.",
            "<Write|Send a mail|Send an email> to {a} with the <subject|title> {b}.",
            "<Email|Mail> <to |>{a}: {b}.",
            "<Mail|Email> for {a}, <subject|title> {b}.",
        ],
        results: &[("status", |w| w.language().pick("已发送", "sent").to_owned())],
        answer_zh: "给{a}的邮件“{b}”{r}。",
        answer_en: "The email to {a} about {b} was {r}.",
    },
    Family {
        names: &["check_stock", "stock", "get_inventory", "inventory", "find_product"],
        zh: &["查询库存", "查商品还有多少", "库存数量"],
        en: &["Check the stock of a product", "How many are left", "Look up the inventory"],
        parameters: &[Parameter {
            names: &["product", "item", "name"],
            values: Values::Text(thing),
            zh: "商品",
            en: "the product",
        }],
        ask_zh: &[
            "<|查一下|看看|查查|查>{a}<还有货|有货|有库存|还有>吗？",
            "<查一下|看看|查查|查>{a}<的库存|有没有货|还有多少>。",
            "{a}<还剩|还有>多少？",
            "<仓库里|库里>有<几个|多少>{a}？",
        ],
        ask_en: &[
            "<Is|Do we have> the {a} <in stock|left|available>?",
            "<Check|Look up|Find> the <stock|inventory> of the {a}.",
            "How many of the {a} <are left|do we have|are there>?",
        ],
        results: &[("left", count)],
        answer_zh: "{a}还有{r}件。",
        answer_en: "There are {r} of the {a} left.",
    },
    Family {
        names: &["translate", "translate_text", "translator", "translation"],
        zh: &["翻译文字", "翻译成另一种语言", "翻译"],
        en: &["Translate a text", "Translate to another language", "Translation"],
        parameters: &[
            Parameter {
                names: &["text", "content", "word"],
                values: Values::Text(word),
                zh: "原文",
                en: "the text",
            },
            Parameter {
                names: &["language", "target", "to"],
                values: Values::Choice(LANGUAGES),
                zh: "目标语言",
                en: "the target language",
            },
        ],
        ask_zh: &[
            "<把|请把|帮我把>“{a}”<翻译成|译成|翻成>{b}。",
            "“{a}”<用|的>{b}<怎么说|怎么写|是什么>？",
            "<翻译|帮我翻译|请翻译>{a}，<翻成|译成|翻译成>{b}。",
        ],
        ask_en: &[
            "Translate {a} <to|into> {b}.",
            "What is {a} <in|called in> {b}?",
            "How do <you|I> <say|write> {a} in {b}?",
            "<Give|Tell|Show|Write> me <{a}|the word {a}|this word, {a},> in {b}<|, please>.",
        ],
        results: &[("translation", words::made_up)],
        answer_zh: "{a}用{b}说是{r}。",
        answer_en: "In {b}, {a} is {r}.",
    },
    Family {
        names: &["search_flights", "find_flight", "flights", "flight_search"],
        zh: &["搜索航班", "查机票", "查询两地航班"],
        en: &["Search flights", "Find a flight", "Flights between two cities"],
        parameters: &[
            Parameter {
                names: &["from", "origin", "from_city"],
                values: Values::Text(words::city),
                zh: "出发地",
                en: "where it starts",
            },
            Parameter {
                names: &["to", "destination", "to_city"],
                values: Values::Text(words::city),
                zh: "目的地",
                en: "where it goes",
            },
            Parameter {
                names: &["date", "day"],
                values: Values::Text(words::due),
                zh: "日期",
                en: "the day",
            },
        ],
        ask_zh: &[
            "{c}从{a}<飞|到|去>{b}有<航班|飞机|机票>吗？",
            "<查|找|看看|查一下>{c}{a}<到|飞>{b}的<机票|航班|飞机>。",
            "我{c}要从{a}<去|飞|到>{b}，<看看航班|查机票|找航班>。",
        ],
        ask_en: &[
            "<Find|Search|Look for> <a flight|flights> from {a} to {b}<,| on| for> {c}.",
            "Are there flights from {a} to {b}<,| on> {c}?",
            "I <have|want|need> to fly from {a} to {b}<,| on> {c}.",
            "Flights <from |>{a} to {b}, {c}<?|, please.>",
        ],
        results: &[("flight", words::code), ("departs", words::clock)],
        answer_zh: "{c}从{a}到{b}：航班{r}，{s}起飞。",
        answer_en: "From {a} to {b}, {c}: flight {r} at {s}.",
    },
    Family {
        names: &["book_hotel", "hotel", "reserve_hotel", "hotel_booking"],
        zh: &["预订酒店", "订酒店房间", "酒店预订"],
        en: &["Book a hotel", "Reserve a hotel room", "Hotel booking"],
        parameters: &[
            Parameter {
                names: &["city", "place", "location"],
                values: Values::Text(words::city),
                zh: "城市",
                en: "the city",
            },
            Parameter {
                names: &["nights", "days", "stay"],
                values: Values::Integer(1, 14),
                zh: "住几晚",
                en: "how many nights",
            },
        ],
        ask_zh: &[
            "<在|帮我在|请在>{a}订{b}晚<酒店|宾馆|房间>。",
            "<我要|我想|我们>在{a}住{b}晚，<订个酒店|订酒店|找酒店>。",
            "<帮我|请|>订{a}的<酒店|宾馆|房间>，<|住>{b}晚。",
        ],
        ask_en: &[
            "<Book|Reserve|Find> a <hotel|room|hotel room> in {a} for {b} nights.",
            "I need <a hotel for |a room for |>{b} nights in {a}.",
            "<Book|Reserve> {b} nights in {a}<|, please>.",
            "We stay in {a} for {b} nights. <Book it.|Book a hotel.|Reserve a room.>",
        ],
        results: &[("booking", words::code)],
        answer_zh: "{a}的酒店已订{b}晚，订单{r}。",
        answer_en: "Your hotel in {a} is booked for {b} nights: {r}.",
    },
    Family {
        names: &["play_music", "play", "play_song", "music_player"],
        zh: &["播放音乐", "放歌", "播放某人的歌"],
        en: &["Play music", "Play songs by somebody", "Start the music"],
        parameters: &[Parameter {
            names: &["artist", "singer", "by"],
            values: Values::Text(words::person),
            zh: "歌手",
            en: "the artist",
        }],
        ask_zh: &[
            "<放|播放|来点|来首>{a}的<歌|音乐>。",
            "我想听{a}<|的歌|的音乐|唱的>。",
            "<听听|放点|播放>{a}<唱的歌|的音乐|>。",
        ],
        ask_en: &[
            "<Play|Put on> <something|songs|music> by {a}.",
            "I <want|would like> to <hear|listen to> {a}.",
            "<Play|Put on> {a}<|, please>.",
            "<Some music|Songs|Something> by {a}<|, please>.",
        ],
        results: &[("song", words::brand)],
        answer_zh: "正在播放{a}的{r}。",
        answer_en: "Now playing {r} by {a}.",
    },
    Family {
        names: &["set_light", "light", "switch_light", "control_light"],
        zh: &["控制灯光", "开关灯", "设置某个房间的灯"],
        en: &["Switch a light", "Control the lights", "Turn a light on or off"],
        parameters: &[
            Parameter {
                names: &["room", "where", "place"],
                values: Values::Choice(ROOMS),
                zh: "房间",
                en: "which room",
            },
            Parameter {
                names: &["state", "action", "power"],
                values: Values::Choice(&[("on", "打开"), ("off", "关上")]),
                zh: "状态",
                en: "on or off",
            },
        ],
        ask_zh: &["<把|请把|帮我把>{a}的灯{b}。", "<请|帮我|>{b}{a}的灯。", "{a}<的灯|灯>，{b}<|一下>。"],
        ask_en: &[
            "<Turn|Switch> {b} the <light|lights|lamp> in the {a}.",
            "<Turn|Switch> the {a} <light|lights|lamp> {b}<|, please>.",
            "<Light|Lights> in the {a}: {b}<.|, please.>",
            "<Can|Could> you <turn|switch> the {a} <light|lights> {b}?",
        ],
        results: &[("status", |w| w.language().pick("成功", "done").to_owned())],
        answer_zh: "{a}的灯{b}：{r}。",
        answer_en: "Light in the {a} {b}: {r}.",
    },
    Family {
        names: &["set_temperature", "thermostat", "heating", "set_heating"],
        zh: &["设置温度", "调节室温", "空调温度"],
        en: &["Set the temperature", "Control the heating", "Thermostat of a room"],
        parameters: &[
            Parameter {
                names: &["room", "where", "place"],
                values: Values::Choice(ROOMS),
                zh: "房间",
                en: "which room",
            },
            Parameter {
                names: &["degrees", "temperature", "celsius"],
                values: Values::Integer(16, 28),
                zh: "度数",
                en: "degrees",
            },
        ],
        ask_zh: &[
            "<把|请把|帮我把>{a}<调到|设成|设为|开到>{b}度。",
            "{a}<温度|的温度|空调><调到|设成|设为|开到>{b}度。",
            "我想让{a}<是|有>{b}度。",
        ],
        ask_en: &[
            "<Set|Turn|Heat> the {a} to {b} degrees.",
            "<Make|Keep> the {a} <at |>{b} degrees.",
            "I <want|would like> {b} degrees in the {a}.",
            "<The |>{a} at {b} degrees<|, please>.",
        ],
        results: &[("now", degrees)],
        answer_zh: "{a}已设为{b}度，现在{r}度。",
        answer_en: "The {a} is set to {b} degrees; it has {r} now.",
    },
    Family {
        names: &["book_room", "reserve_room", "meeting_room", "room_booking"],
        zh: &["预订会议室", "订会议室", "会议室预约"],
        en: &["Book a meeting room", "Reserve a meeting room", "Meeting room booking"],
        parameters: &[
            Parameter {
                names: &["date", "day", "when"],
                values: Values::Text(words::due),
                zh: "时间",
                en: "when",
            },
            Parameter {
                names: &["people", "seats", "size"],
                values: Values::Integer(2, 40),
                zh: "人数",
                en: "how many people",
            },
        ],
        ask_zh: &[
            "{a}<订|预订|预约>一间{b}人的会议室。",
            "{a}有{b}个人开会，<订会议室|订一间会议室|找会议室>。",
            "<要|订|预约|找>一间会议室，{a}，{b}人。",
        ],
        ask_en: &[
            "<Book|Reserve|Find> a <meeting room|room> for {b} people<,| on| for> {a}.",
            "We are {b} people <and meet|meeting> <on |>{a}. <Get us a room.|Book a room.|We need a room.>",
            "<A|One> meeting room, {a}, {b} people<|, please>.",
            "I need a <meeting room|room> for {b} people<,| on> {a}.",
        ],
        results: &[("room", words::code)],
        answer_zh: "{a}的会议室是{r}，{b}人。",
        answer_en: "Room {r} is booked for {b} people, {a}.",
    },
    Family {
        names: &["find_employee", "employee", "lookup_person", "staff_search", "phone_book"],
        zh: &["查找员工", "查同事的电话", "员工信息"],
        en: &["Find an employee", "Look up a colleague", "Phone book of the company"],
        parameters: &[Parameter {
            names: &["name", "person", "employee"],
            values: Values::Text(words::person),
            zh: "姓名",
            en: "the name",
        }],
        ask_zh: &[
            "{a}的<电话|分机|号码|分机号>是多少？",
            "<查一下|查查|找|找一下>{a}的<电话|分机|号码>。",
            "<怎么联系|如何联系|帮我找|帮我查><|同事>{a}？",
        ],
        ask_en: &[
            "What is the <extension|phone number|number> of {a}?",
            "How <do|can> I <reach|call|contact> {a}?",
            "<Look up|Find|Search> <|the extension of |the number of >{a}.",
            "<Which|What> <number|extension> does {a} have?",
        ],
        results: &[("extension", count)],
        answer_zh: "{a}的分机是{r}。",
        answer_en: "The extension of {a} is {r}.",
    },
    Family {
        names: &["request_leave", "leave", "ask_leave", "vacation"],
        zh: &["申请休假", "请假", "提交请假申请"],
        en: &["Request leave", "Ask for days off", "Apply for vacation"],
        parameters: &[
            Parameter {
                names: &["days", "length", "duration"],
                values: Values::Integer(1, 20),
                zh: "天数",
                en: "how many days",
            },
            Parameter {
                names: &["start", "from", "first_day"],
                values: Values::Text(words::due),
                zh: "开始日期",
                en: "the first day",
            },
        ],
        ask_zh: &[
            "我<要|想>请{a}天假，<从{b}开始|{b}开始|{b}起>。",
            "<从|>{b}<起|开始><请假|休假|休息>{a}天。",
            "<帮我|请帮我|>申请<休假|请假>{a}天，{b}<开始|起>。",
        ],
        ask_en: &[
            "I <want|need|would like> {a} days off <from|starting> {b}.",
            "<Request|Apply for|Ask for> {a} days of <leave|vacation> <from|starting> {b}.",
            "<Leave|Vacation> for {a} days, <from|starting> {b}.",
            "<From|Starting> {b}, I <need|want> {a} days off.",
        ],
        results: &[("request", words::code)],
        answer_zh: "请假申请{r}已提交：{a}天，{b}起。",
        answer_en: "Leave request {r}: {a} days from {b}.",
    },
    Family {
        names: &["find_restaurant", "restaurants", "search_restaurant", "where_to_eat"],
        zh: &["查找餐厅", "找吃饭的地方", "搜索餐馆"],
        en: &["Find a restaurant", "Search places to eat", "Restaurants in a city"],
        parameters: &[
            Parameter {
                names: &["city", "place", "location"],
                values: Values::Text(words::city),
                zh: "城市",
                en: "the city",
            },
            Parameter {
                names: &["cuisine", "food", "kind"],
                values: Values::Choice(CUISINES),
                zh: "菜系",
                en: "what kind of food",
            },
        ],
        ask_zh: &[
            "{a}哪里有{b}<吃|>？",
            "<我想|想|我要>在{a}吃{b}。",
            "<找|推荐|帮我找|帮我推荐>一家{a}的{b}<餐厅|馆子|餐馆>。",
            "<去|在>{a}吃{b}去哪<家|里>？",
        ],
        ask_en: &[
            "Where can <I|we> <eat|get|find> {b} food in {a}?",
            "<Find|Search|Look for> a {b} restaurant in {a}.",
            "I <want|would like> <to eat |>{b} food in {a}.",
            "<A|Some> {b} <place|restaurant> in {a}<|, please>.",
        ],
        results: &[("restaurant", words::brand)],
        answer_zh: "{a}的{b}可以去{r}。",
        answer_en: "For {b} food in {a}, try {r}.",
    },
    Family {
        names: &["create_ticket", "ticket", "report_problem", "open_ticket"],
        zh: &["创建工单", "报告故障", "提交问题"],
        en: &["Create a ticket", "Report a problem", "Open a support ticket"],
        parameters: &[
            Parameter {
                names: &["title", "problem", "summary"],
                values: Values::Text(|w| {
                    let thing = thing(w);
                    w.language().pick(
                        w.write("{x}<坏了|没反应|很吵|打不开|漏水>", &[("x", &thing)]),
                        w.write("{x} <broken|too loud|does not start|missing|leaking>", &[("x", &thing)]),
                    )
                }),
                zh: "问题",
                en: "the problem",
            },
            Parameter {
                names: &["priority", "level", "urgency"],
                values: Values::Choice(&[("low", "低"), ("normal", "普通"), ("high", "高")]),
                zh: "优先级",
                en: "how urgent it is",
            },
        ],
        ask_zh: &[
            "<报个故障|报告问题|故障>：{a}，优先级{b}。",
            "<建|创建|开>工单，{a}，优先级{b}。",
            "{a}，<请|帮我><提交|建|开>工单，优先级{b}。",
            "<提交问题|工单>“{a}”，<级别|优先级>{b}。",
        ],
        ask_en: &[
            "<Open|Create|File> a ticket: {a}, priority {b}.",
            "<Report|File> this with {b} priority: {a}.",
            "<Problem|Issue>: {a}. Priority {b}.",
            "<Open|Create|File> a {b} priority ticket: {a}<.|>",
        ],
        results: &[("ticket", words::code)],
        answer_zh: "工单{r}已创建，优先级{b}。",
        answer_en: "Ticket {r} is open with {b} priority.",
    },
];

pub(super) const VERBS: &[(&str, &str)] = &[
    ("cancel", "取消"),
    ("approve", "批准"),
    ("delete", "删除"),
    ("print", "打印"),
    ("archive", "归档"),
    ("copy", "复制"),
    ("lock", "锁定"),
    ("share", "分享"),
    ("close", "关闭"),
    ("find", "查找"),
    ("check", "检查"),
    ("export", "导出"),
    ("restore", "恢复"),
    ("pause", "暂停"),
];
pub(super) const NOUNS: &[(&str, &str)] = &[
    ("invoice", "发票"),
    ("contract", "合同"),
    ("order", "订单"),
    ("shipment", "货运单"),
    ("report", "报告"),
    ("project", "项目"),
    ("account", "账户"),
    ("device", "设备"),
    ("document", "文档"),
    ("payment", "付款单"),
    ("booking", "预订"),
    ("task", "任务"),
    ("file", "文件"),
    ("machine", "机器"),
    ("claim", "理赔单"),
    ("loan", "贷款"),
    ("course", "课程"),
    ("backup", "备份"),
    ("server", "服务器"),
    ("member", "会员"),
    ("coupon", "优惠券"),
    ("survey", "问卷"),
    ("campaign", "活动"),
    ("sample", "样品"),
    ("licence", "许可证"),
    ("parcel", "包裹"),
    ("refund", "退款单"),
    ("quote", "报价单"),
    ("visit", "访问"),
    ("alarm", "报警"),
    ("permit", "通行证"),
    ("recipe", "配方"),
    ("job", "作业"),
    ("robot", "机器人"),
    ("sensor", "传感器"),
    ("budget", "预算"),
];
pub(super) const STATES_EN: &[&str] =
    &["done", "open", "waiting", "in progress", "failed", "accepted", "on hold", "ready"];
pub(super) const STATES_ZH: &[&str] =
    &["已完成", "未处理", "等待中", "进行中", "失败", "已接受", "已暂停", "就绪"];
pub(super) const COMPOSED_ASK_EN: &[&str] = &[
    "<Please |Now |>{verb} <the |>{noun} {code}.",
    "<Can|Could|Will> you <please |>{verb} <the |>{noun} {code}?",
    "<I want|We have|I need|We want> to {verb} <the |>{noun} {code}.",
    "<Please |>{verb} the {noun} <with the number|numbered|with the code> {code}.",
    "{noun} {code}: <please |>{verb} it<|, please>.",
];
pub(super) const COMPOSED_ASK_ZH: &[&str] = &[
    "<请|帮我|麻烦|麻烦你|>{verb}<|一下>{noun}{code}<|吧>。",
    "<能|可以|你能><帮我|>{verb}<|一下>{noun}{code}吗？",
    "<我要|我想|需要|我需要>{verb}<|一下>{noun}{code}。",
    "<请|帮我|麻烦|我要|需要|>{verb}<编号|号码|代码|单号><|是|为>{code}的{noun}。",
    "<请|帮我|麻烦|麻烦你|>把<编号|号码|代码|单号><|是|为>{code}的{noun}{verb}<一下|>。",
    "<请|帮我|麻烦|麻烦你|>把{noun}{code}{verb}<一下|>。",
    "{noun}{code}，<请|帮我|麻烦|麻烦你|>{verb}<一下|>。",
];
